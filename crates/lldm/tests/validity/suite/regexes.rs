//! Random regular expressions of moderate size, judged by the crate `regex`.

use lldm::control::constraint::Regex as Language;
use regex::Regex;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, MatchKind};

use super::case::{Case, Demand, Kind};
use super::dice::Dice;
use super::lengths::Part;
use super::toy;

/// Texts of more tokens are not asked for.
const MOST_TOKENS: usize = 20;

/// The most that an expression's table may take, which keeps out what grows beyond any budget.
const MOST_BYTES: usize = 1 << 20;

const CLASSES: [&str; 22] = [
    "[a-f0-9]",
    "[^x-z]",
    "[A-Z][a-z]",
    "[aeiou]",
    "[[:alpha:]]",
    "[[:punct:]]",
    "[^[:space:]]",
    "[ab&&[^b]]",
    "[äöüß]",
    "[α-ω]",
    "[0-9]",
    "[-+]",
    r"[\[\]]",
    r"\d",
    r"\s",
    r"\S",
    r"\p{Greek}",
    r"\p{Cyrillic}",
    r"\p{Nd}",
    ".",
    "(?s:.)",
    "(?-u:[!-~])",
];

/// Classes of thousands of letters, which are not repeated.
const WIDE: [&str; 5] = [r"\w", r"\p{L}", r"\p{Lu}", r"\p{Han}", r"\W"];

const LITERALS: [&str; 24] = [
    "a", "b", "ab", "x", "the", " ", "0", "7", "-", r"\.", ",", ":", r"\{", r"\}", "\"", r"\n", r"\t", "ü", "ß", "é",
    "日", "😀", r"\x41", "(?i:Ok)",
];

/// The case of that number: an expression that some text of a few tokens matches.
pub(crate) fn case(seed: u64, index: usize) -> Case {
    let mut dice = Dice::new(seed, "regexes", index);
    loop {
        let mut pattern = alternation(&mut dice, 3);
        match dice.below(12) {
            0 => pattern = format!("^{pattern}$"),
            1 => pattern = format!(r"\A(?:{pattern})\z"),
            2 => pattern = format!("(?m)(?:^{pattern}$\n?)+"),
            3 => pattern = format!(r"(?-u:\b)(?:{pattern})(?-u:\b)"),
            _ => {}
        }
        let Some(demand) = demand(pattern) else { continue };
        let case = Case::new(Kind::Regexes, vec![demand]);
        let lengths = case.lengths(toy::pieces(), MOST_TOKENS);
        if lengths.is_some_and(|lengths| lengths.within(MOST_TOKENS)) {
            return case;
        }
    }
}

/// The whole text matches; none where the expression is too large.
fn demand(pattern: String) -> Option<Demand> {
    let judge = Regex::new(&format!("^(?:{pattern})$")).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let part = Walk::new(&pattern)?;
    Some(Demand {
        what: format!("regex {pattern:?}"),
        add: Box::new(move |all| all.with(Language(pattern.clone()))),
        judge: Box::new(move |text| judge.is_match(text)),
        part: Some(Box::new(part)),
    })
}

fn alternation(dice: &mut Dice, depth: usize) -> String {
    let count = if dice.chance(0.3) { dice.between(2, 4) } else { 1 };
    let branches: Vec<_> = (0..count).map(|_| sequence(dice, depth)).collect();
    if count == 1 { branches.concat() } else { format!("(?:{})", branches.join("|")) }
}

fn sequence(dice: &mut Dice, depth: usize) -> String {
    let count = dice.between(1, 4);
    (0..count).map(|_| repeated(dice, depth)).collect()
}

fn repeated(dice: &mut Dice, depth: usize) -> String {
    if dice.chance(0.08) {
        return dice.pick(&WIDE).to_string();
    }
    let atom = match dice.below(if depth > 0 { 10 } else { 8 }) {
        0..=3 => format!("(?:{})", dice.pick(&LITERALS)),
        4..=7 => format!("(?:{})", dice.pick(&CLASSES)),
        8 => format!("({})", alternation(dice, depth - 1)),
        _ => format!("(?:{})", alternation(dice, depth - 1)),
    };
    let from = dice.below(4);
    match dice.below(14) {
        0 => format!("{atom}?"),
        1 => format!("{atom}*"),
        2 => format!("{atom}+"),
        3 => format!("{atom}{{{from}}}"),
        4 => format!("{atom}{{{from},{}}}", from + dice.below(5)),
        5 => format!("{atom}{{{from},}}"),
        6 => format!("{atom}*?"),
        7 => format!("{atom}??"),
        _ => atom,
    }
}

/// The expression as the dense automaton of `regex-automata`, used as it comes.
struct Walk {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Walk {
    fn new(pattern: &str) -> Option<Self> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MOST_BYTES))
            .determinize_size_limit(Some(MOST_BYTES));
        let dfa = dense::Builder::new().configure(config).build(pattern).ok()?;
        let start = dfa.start_state_forward(&Input::new("").anchored(Anchored::Yes)).expect("an anchored start");
        Some(Self { dfa, start })
    }

    fn state(state: u64) -> StateID {
        StateID::new(state as usize).expect("a state that was given out")
    }
}

impl Part for Walk {
    fn start(&self) -> u64 {
        self.start.as_u64()
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let next = self.dfa.next_state(Self::state(state), byte);
        (!self.dfa.is_dead_state(next) && !self.dfa.is_quit_state(next)).then_some(next.as_u64())
    }

    fn accepts(&self, state: u64) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(Self::state(state)))
    }
}
