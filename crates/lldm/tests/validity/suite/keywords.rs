//! Random keyword sets: words that must stand in a text, with other demands beside them.

use lldm::control::Constraints;
use lldm::control::constraint::{
    Banned, Case as Letters, EndsWith, Keywords, Match, Order, Sentences, StartsWith, Words,
};

use super::case::{Case, Demand, Kind};
use super::dice::Dice;
use super::lengths::Part;
use super::templates;
use super::words::{
    Begins, CountSentences, CountWords, Ends, Finder, InOrder, Several, Without, places, sentences_within, stand,
    words_within,
};

const WORDS: [&str; 40] = [
    "spaceship",
    "ocean",
    "night",
    "captain",
    "silent",
    "lake",
    "the",
    "a",
    "I",
    "sun",
    "sung",
    "unsung",
    "garden",
    "red",
    "bread",
    "Tom",
    "tomato",
    "New York",
    "ice cream",
    "well-known",
    "don't",
    "C++",
    "a.b",
    "(so)",
    "x_1",
    "42",
    "3.5",
    "100%",
    "what?",
    "über",
    "Größe",
    "naïve",
    "café",
    "Äpfel",
    "ß",
    "日本",
    "день",
    "kiss",
    "Sky",
    "-",
];

/// The case of that number: always keywords, and up to three further demands.
pub(crate) fn case(seed: u64, index: usize) -> Case {
    let mut dice = Dice::new(seed, "keywords", index);
    let (must, fixed) = keywords(&mut dice);
    let mut case = Case::new(Kind::Keywords, vec![must]);
    // Many states at once cost time and show nothing new.
    let further = if fixed > 24 { dice.below(2) } else { dice.below(4) };
    let mut taken = [false; 6];
    for _ in 0..further {
        let kind = dice.below(taken.len());
        if std::mem::replace(&mut taken[kind], true) {
            continue;
        }
        let demand = match kind {
            0 => banned(&mut dice),
            1 => starts(&mut dice),
            2 => ends(&mut dice),
            3 => words(&mut dice),
            4 => sentences(&mut dice),
            _ if dice.chance(0.5) && fixed <= 24 => templates::demand(&mut dice),
            _ => {
                let from = dice.below(12);
                case.tokens = (from, dice.chance(0.7).then(|| from + dice.below(20)));
                continue;
            }
        };
        case.demands.push(demand);
    }
    case
}

/// A word: one of those above, or letters that overlap with themselves.
fn word(dice: &mut Dice) -> String {
    if dice.chance(0.3) {
        let length = dice.between(1, 4);
        return (0..length).map(|_| *dice.pick(&['a', 'b', 'n'])).collect();
    }
    dice.pick(&WORDS).to_string()
}

fn spaced(dice: &mut Dice, word: String) -> String {
    // White space belongs to a substring, and is dropped around a word.
    match dice.below(8) {
        0 => format!(" {word}"),
        1 => format!("{word} "),
        _ => word,
    }
}

fn sensed(dice: &mut Dice) -> (Match, Letters) {
    let matches = if dice.chance(0.6) { Match::Word } else { Match::Substring };
    let case = if dice.chance(0.7) { Letters::Exact } else { Letters::Any };
    (matches, case)
}

/// What is looked for of a word.
fn sought(word: &str, matches: Match) -> String {
    if matches == Match::Word { word.trim().to_string() } else { word.to_string() }
}

/// The demand, and how many letters it has.
fn keywords(dice: &mut Dice) -> (Demand, usize) {
    let (matches, case) = sensed(dice);
    let order = *dice.pick(&[Order::All, Order::All, Order::All, Order::Any, Order::InOrder]);
    let count = dice.between(1, 6);
    let mut words: Vec<String> = Vec::new();
    for _ in 0..count {
        let one = word(dice);
        words.push(spaced(dice, one));
    }
    while order == Order::Any && !Several::fits(&words) {
        words.pop();
    }
    // Six long words in any order are thousands of states.
    while order == Order::All && words.iter().map(String::len).sum::<usize>() > 36 {
        words.pop();
    }
    let letters = words.iter().map(String::len).sum();
    let sought: Vec<_> = words.iter().map(|word| sought(word, matches)).collect();
    let finder = |word: &String| Finder::new(word, matches, case);
    let part: Box<dyn Part> = match order {
        Order::InOrder => Box::new(InOrder(sought.iter().map(finder).collect())),
        Order::All | Order::Any => {
            Box::new(Several { words: sought.iter().map(finder).collect(), all: order == Order::All })
        }
    };
    let language = Keywords { words, order, matches, case };
    let demand = Demand {
        what: format!("{language:?}"),
        add: Box::new(move |all: Constraints| all.with(language.clone())),
        judge: Box::new(move |text| stand(text, &sought, order, matches, case)),
        part: Some(part),
    };
    (demand, letters)
}

fn banned(dice: &mut Dice) -> Demand {
    let (matches, case) = sensed(dice);
    let one = word(dice);
    let language = Banned { words: vec![spaced(dice, one)], matches, case };
    let sought = sought(&language.words[0], matches);
    let part = Without(Finder::new(&sought, matches, case));
    Demand {
        what: format!("{language:?}"),
        add: Box::new(move |all| all.with(language.clone())),
        judge: Box::new(move |text| places(text, &sought, matches, case).is_empty()),
        part: Some(Box::new(part)),
    }
}

fn starts(dice: &mut Dice) -> Demand {
    let text = dice.pick(&["The ", "Dear", "I ", "\"", "Ünd", "a", "#1: ", "  "]).to_string();
    let (language, part) = (StartsWith(text.clone()), Begins(text.clone().into_bytes()));
    Demand {
        what: format!("{language:?}"),
        add: Box::new(move |all| all.with(language.clone())),
        judge: Box::new(move |found| found.starts_with(&text)),
        part: Some(Box::new(part)),
    }
}

fn ends(dice: &mut Dice) -> Demand {
    let text = dice.pick(&[".", "!", "end.", "?\"", " ", "é", "aba", "\n"]).to_string();
    let (language, part) = (EndsWith(text.clone()), Ends(text.clone().into_bytes()));
    Demand {
        what: format!("{language:?}"),
        add: Box::new(move |all| all.with(language.clone())),
        judge: Box::new(move |found| found.ends_with(&text)),
        part: Some(Box::new(part)),
    }
}

fn words(dice: &mut Dice) -> Demand {
    let from = dice.between(0, 9) as u32;
    let to = dice.chance(0.7).then(|| from + dice.between(1, 4) as u32);
    Demand {
        what: format!("{from} to {to:?} words"),
        add: Box::new(move |all| all.with(Words { from, to })),
        judge: Box::new(move |text| words_within(text, from, to)),
        part: Some(Box::new(CountWords(from, to))),
    }
}

fn sentences(dice: &mut Dice) -> Demand {
    let from = dice.between(0, 3) as u32;
    let to = dice.chance(0.7).then(|| from + dice.below(3) as u32);
    Demand {
        what: format!("{from} to {to:?} sentences"),
        add: Box::new(move |all| all.with(Sentences { from, to })),
        judge: Box::new(move |text| sentences_within(text, from, to)),
        part: Some(Box::new(CountSentences(from, to))),
    }
}
