//! Grammars against what they derive: a naive recogniser of random grammars, the two forms against one another, and texts by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use lldm_control::budget::Meter;
use lldm_control::constraint::{Grammar, Language};
use lldm_control::{Budget, ByteDfa, Error};
use lldm_diffusion::Guarantee;
use proptest::prelude::*;

fn meter() -> Meter {
    Budget::default().meter()
}

fn lark(text: &str) -> ByteDfa {
    Grammar::lark(text)
        .and_then(|grammar| grammar.automaton(&meter()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn gbnf(text: &str) -> ByteDfa {
    Grammar::gbnf(text)
        .and_then(|grammar| grammar.automaton(&meter()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn guarantee(text: &str) -> Guarantee {
    Grammar::lark(text)
        .and_then(|grammar| grammar.compile(&meter()))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .1
}

#[track_caller]
fn check(dfa: &ByteDfa, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(dfa.accepts(text.as_bytes()), "{text:?} is derived");
    }
    for text in bad {
        assert!(!dfa.accepts(text.as_bytes()), "{text:?} is not derived");
    }
}

/// Rules of alternatives of symbols: a number below that of the rules is a rule, the next two are the letters x and y.
type Plain = Vec<Vec<Vec<usize>>>;

const RULES: usize = 3;

fn plain() -> impl Strategy<Value = Plain> {
    let symbols = prop::collection::vec(0..RULES + 2, 0..4);
    prop::collection::vec(prop::collection::vec(symbols, 1..4), RULES)
}

fn name(symbol: usize) -> &'static str {
    ["root", "first", "second", "\"x\"", "\"y\""][symbol]
}

fn written(rules: &Plain, sign: &str, start: &str) -> String {
    let mut out = String::new();
    for (rule, alternatives) in rules.iter().enumerate() {
        let name = |symbol: usize| if symbol == 0 { start } else { name(symbol) };
        let words = |symbols: &Vec<usize>| symbols.iter().map(|symbol| name(*symbol)).collect::<Vec<_>>().join(" ");
        let texts = |symbols: &Vec<usize>| if symbols.is_empty() { "\"\"".to_string() } else { words(symbols) };
        let alternatives: Vec<String> = alternatives.iter().map(texts).collect();
        writeln!(out, "{} {sign} {}", if rule == 0 { start } else { name(rule) }, alternatives.join(" | ")).unwrap();
    }
    out
}

/// Whether each text is derived, by trying all splits until nothing new is found. Some references cost a level, of which a way down
/// may take so many.
struct Naive<'a> {
    rules: &'a Plain,
    levels: HashSet<(usize, usize)>,
}

impl Naive<'_> {
    fn derives(&self, text: &[u8], depth: usize) -> bool {
        let mut known: HashMap<(usize, usize, usize, usize), bool> = HashMap::new();
        loop {
            let before = known.len();
            for rule in 0..self.rules.len() {
                for from in 0..=text.len() {
                    for to in from..=text.len() {
                        for room in 0..=depth {
                            let key = (rule, from, to, room);
                            if !known.contains_key(&key) && self.rule(rule, &text[..to], from, room, &known) {
                                known.insert(key, true);
                            }
                        }
                    }
                }
            }
            if known.len() == before {
                return known.contains_key(&(0, 0, text.len(), depth));
            }
        }
    }

    fn rule(
        &self,
        rule: usize,
        text: &[u8],
        from: usize,
        room: usize,
        known: &HashMap<(usize, usize, usize, usize), bool>,
    ) -> bool {
        let mut ordinal = 0;
        for alternative in &self.rules[rule] {
            let mut ends = HashSet::from([from]);
            for symbol in alternative {
                let mut next = HashSet::new();
                if *symbol < RULES {
                    let room = if self.levels.contains(&(rule, ordinal)) { room.checked_sub(1) } else { Some(room) };
                    ordinal += 1;
                    for (at, room) in ends.iter().filter_map(|at| Some((*at, room?))) {
                        next.extend((at..=text.len()).filter(|to| known.contains_key(&(*symbol, at, *to, room))));
                    }
                } else {
                    let letter = b"xy"[*symbol - RULES];
                    next.extend(ends.iter().filter(|at| text.get(**at) == Some(&letter)).map(|at| at + 1));
                }
                ends = next;
            }
            if ends.contains(&text.len()) {
                return true;
            }
        }
        false
    }
}

fn texts(length: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..length {
        last =
            last.iter().flat_map(|text: &Vec<u8>| b"xy".iter().map(|letter| [text, &[*letter][..]].concat())).collect();
        all.extend(last.iter().cloned());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// A grammar without levels is compared with all that it derives; else with what it derives within so many levels, which are all
    /// derived, and not fewer than with fewer.
    #[test]
    fn automata_accept_what_is_derived_within_the_depth(rules in plain(), depth in 0u32..3) {
        let text = written(&rules, "::=", "root");
        let grammar = Grammar::gbnf(&text).unwrap().with_depth(depth);
        let number = |name: &str| ["root", "first", "second"].iter().position(|known| *known == name).unwrap();
        let levels = grammar.levels(&meter()).unwrap();
        let naive = Naive { rules: &rules, levels: levels.iter().map(|level| (number(&level.rule), level.ordinal)).collect() };
        let compiled = grammar.compile(&meter());
        let expected = if levels.is_empty() { Guarantee::Exact } else { Guarantee::ExactBoundedDepth(depth) };
        match &compiled {
            Ok((_, guarantee)) => prop_assert_eq!(*guarantee, expected),
            // Grammars as ambiguous as some of these grow fast.
            Err(Error::Depth { .. }) => return Ok(()),
            Err(error) => prop_assert!(matches!(error, Error::Empty { .. }), "{}: {}", text, error),
        }
        for word in texts(5) {
            let accepted = compiled.as_ref().is_ok_and(|(dfa, _)| dfa.accepts(&word));
            prop_assert_eq!(accepted, naive.derives(&word, depth as usize), "{:?} to depth {} under\n{}", String::from_utf8_lossy(&word), depth, text);
        }
    }

    /// A word whose tree holds no more rules than levels, on any way down, never needs more.
    #[test]
    fn levels_are_no_more_than_rules_on_the_way_down(rules in plain()) {
        let text = written(&rules, "::=", "root");
        let everywhere = (0..RULES).flat_map(|rule| (0..12).map(move |ordinal| (rule, ordinal))).collect();
        let naive = Naive { rules: &rules, levels: everywhere };
        let compiled = Grammar::gbnf(&text).unwrap().with_depth(2).automaton(&meter());
        if matches!(compiled, Err(Error::Depth { .. })) {
            return Ok(());
        }
        for word in texts(4) {
            if naive.derives(&word, 2) {
                prop_assert!(compiled.as_ref().is_ok_and(|dfa| dfa.accepts(&word)), "{:?} under\n{}{:?}", String::from_utf8_lossy(&word), text, compiled.as_ref().map(|_| ()));
            }
        }
    }

    /// At any depth, and letter by letter, where its lexer has nothing to choose.
    #[cfg(feature = "verifier")]
    #[test]
    fn the_verifier_accepts_what_is_derived(rules in plain()) {
        let text = written(&rules, "::=", "root");
        let naive = Naive { rules: &rules, levels: HashSet::new() };
        let tokens: Vec<Option<Vec<u8>>> = [&b"x"[..], b"y", b"xy", b"yyx"].iter().map(|bytes| Some(bytes.to_vec())).collect();
        let grammar = Grammar::gbnf(&text).unwrap();
        let Ok(verifier) = lldm_control::constraint::Verifier::new(&grammar, &tokens, &[]) else {
            // Nothing but the empty text, or not even that.
            prop_assert!(texts(5).iter().skip(1).all(|word| !naive.derives(word, 0)), "{}", text);
            return Ok(());
        };
        for word in texts(5) {
            let tokens: Vec<u32> = word.iter().map(|letter| u32::from(letter - b'x')).collect();
            let derived = naive.derives(&word, 0);
            prop_assert_eq!(verifier.accepts(&tokens), Ok(derived), "{:?} under\n{}", String::from_utf8_lossy(&word), text);
            // The same in longer tokens.
            if word.ends_with(b"xyyyx") {
                let longer = [&tokens[..word.len() - 5], &[2, 3]].concat();
                prop_assert_eq!(verifier.accepts(&longer), Ok(derived));
            }
        }
    }

    #[test]
    fn both_forms_of_a_grammar_are_one_language(rules in plain()) {
        let gbnf = Grammar::gbnf(&written(&rules, "::=", "root")).unwrap().with_depth(1).compile(&meter());
        let lark = Grammar::lark(&written(&rules, ":", "start")).unwrap().with_depth(1).compile(&meter());
        prop_assert_eq!(gbnf, lark);
    }
}

#[test]
fn lists_and_chains_of_operators_need_no_depth() {
    for text in [
        "start: \"a\" | \"a\" \",\" start",
        "start: \"a\" | start \",\" \"a\"",
        "start: \"a\" | start \",\" start",
        "start: first\nfirst: second \",\" first | second\nsecond: \"a\"",
        "start: first\nfirst: second | \"a\"\nsecond: first \",\" \"a\"",
        "start: first (\",\" first)*\nfirst: \"a\"",
    ] {
        let dfa = lark(text);
        assert_eq!(guarantee(text), Guarantee::Exact, "{text}");
        check(&dfa, &["a", "a,a", "a,".repeat(2000).trim_end_matches(',')], &["", ",", "a,", "aa", ",a", "a,,a"]);
        assert_eq!(dfa.states(), 2, "{text}");
    }
    // Signs before and behind, and between.
    let all = "start: \"-\" start | start \"!\" | start \"+\" start | \"a\"";
    assert_eq!(guarantee(all), Guarantee::Exact);
    check(&lark(all), &["a", "--a!!", "-a+-a!+a"], &["a-", "!a", "a+!a"]);
    // The usual ladder of operators takes a level for a bracket alone.
    let ladder = "start: sum\nsum: sum /[+-]/ product | product\nproduct: product \"*\" power | power\n\
                  power: atom \"^\" power | atom\natom: \"(\" sum \")\" | \"a\"";
    let levels = Grammar::lark(ladder).unwrap().levels(&meter()).unwrap();
    assert_eq!(levels.len(), 1, "{levels:?}");
    assert_eq!((levels[0].rule.as_str(), levels[0].inner.as_str(), levels[0].line), ("atom", "sum", 5));
    let dfa = Grammar::lark(ladder).unwrap().with_depth(2).compile(&meter()).unwrap();
    assert_eq!(dfa.1, Guarantee::ExactBoundedDepth(2));
    let chain = "a*a^a^a-".repeat(50) + "a";
    check(&dfa.0, &[&chain, "((a+a)*a)^a", "(a)+((a))*(a)"], &["(((a)))", "(a", "a)", "((a)", "a+"]);
}

#[test]
fn the_depth_counts_brackets_within_one_another() {
    for depth in 0..5u32 {
        let grammar = Grammar::gbnf("root ::= \"[\" (root (\",\" root)*)? \"]\"").unwrap().with_depth(depth);
        let (dfa, guarantee) = grammar.compile(&meter()).unwrap();
        assert_eq!(guarantee, Guarantee::ExactBoundedDepth(depth));
        for brackets in 1..8 {
            let text = "[".repeat(brackets) + &"]".repeat(brackets);
            assert_eq!(dfa.accepts(text.as_bytes()), brackets <= depth as usize + 1, "{text} to depth {depth}");
        }
    }
    // Whichever rule of a cycle comes first, an object within an array is two.
    let json = "root ::= object\nobject ::= \"{\" (string \":\" value)? \"}\"\nvalue ::= object | array | string\n\
                array ::= \"[\" value \"]\"\nstring ::= \"s\"";
    let levels = Grammar::gbnf(json).unwrap().levels(&meter()).unwrap();
    assert!(levels.iter().all(|level| level.inner == "value"), "{levels:?}");
    check(
        &Grammar::gbnf(json).unwrap().with_depth(2).automaton(&meter()).unwrap(),
        &["{}", "{s:[s]}", "{s:[{}]}"],
        &["{s:[[s]]}", "{s:[{s:s}]}"],
    );
}

#[test]
fn what_lark_can_write() {
    let dfa = lark(
        r#"
        // Both kinds of comments.
        ?start.2: _greeting ["," NAME] (sign | /\d{2}/x)~1..2 -> done   # an alias
            | other{2,3}
        _greeting: "hello"i
            | "good" "\x20\u00e9\U0001F600\n\\\"" | "a".."c"
        sign: "!" | "?"+ |
        !other: TERM ~ 2
        TERM.-1: LETTER "z"? & ~"xz" & /[a-dx-z]+/
        %import common.LETTER
        %import common (INT, WS)
        %import common.CNAME -> NAME
        %ignore " "
        %ignore "~" INT
        "#,
    );
    check(
        &dfa,
        &[
            "hello!",
            "HeLLo , Bob_1 !?",
            " hello",
            "hello~12 ~3!!",
            "b??12",
            "good \u{e9}\u{1F600}\n\\\"",
            "abab",
            "x xa z yzzz",
            "c",
        ],
        &["hel", "good", "h ello!", "hello!!!", "hello, 1x", "aba", "d", "hello!-", "hello~"],
    );
    check(&lark("start: (\"a\" // in a group\n | \"b\"\n)? \"c\""), &["ac", "bc", "c"], &["abc"]);
    check(&lark("start: A* B\nA: \"a\" | B\nB: \"b\"+\n"), &["b", "abab", "bb"], &["", "a", "ba"]);
    check(&lark("start: /a.b/s | /a.c/ | /A#b/i | /x y # z/x"), &["a\nb", "axc", "a#B", "xy"], &["a\nc", "x y"]);
    check(&lark("start: N\nN: ~(\"a\" | \"b\")"), &["", "ab", "é"], &["a", "b"]);
    assert!(!lark("start: N\nN: ~\"a\"").accepts(b"\xff"), "what is no text is no other text");
}

/// What follows from terminals that are matched without a lexer: see the header of the reader.
#[test]
fn terminals_have_no_priority() {
    let text = "start: \"if\" NAME | NAME NAME?\nNAME: /[a-z]+/\n%ignore \" \"";
    check(&lark(text), &["if", "ifx", "if x", "a b"], &["if a b"]);
    let text = "start: \"if\" NAME | NAME\nNAME: /[a-z]+/ & ~\"if\"\n%ignore \" \"";
    check(&lark(text), &["ifx", "if x", "iff"], &["if", "if if"]);
}

#[test]
fn what_gbnf_can_write() {
    let dfa = gbnf(
        r#"
        # a comment
        root ::= ("1. " move " " move "\n"   # in a group
            ([1-9] [0-9]? ". " move)* ) tail{2} |
            "x" .{1,2} | [^\x00-\x1F"\\a-c]
            | Upper-Case_1
        move ::= [NBKQR]? [a-h][1-8] [+#]?
        tail ::= "\u00e9" | "\"" | [\]\-é]
        Upper-Case_1 ::= "up" {0,1} "down"{,2} ()
        "#,
    );
    check(
        &dfa,
        &["1. e4 e5\n2. Nf3+12. Qh8#éé", "1. e4 e5\n-]", "x\né", "é", "-", "updowndown", "", "1. a1 b2\n\"é"],
        &["1. e4 e5\n", "1. e4 e5\né", "xabc", "a", "\"", "\\", "upup"],
    );
}

#[test]
fn the_same_in_both_forms() {
    let json = "value: object | array | STRING | \"null\"\nobject: \"{\" [pair (\",\" pair)*] \"}\"\npair: STRING \":\" value\n\
                array: \"[\" [value (\",\" value)*] \"]\"\nSTRING: \"\\\"\" /[^\"\\\\\\x00-\\x1f]/* \"\\\"\"\nstart: value\n%ignore /[ \\t\\n]/";
    let other = "root ::= ws value\nvalue ::= (object | array | string | \"null\") ws\nobject ::= \"{\" ws (pair (\",\" ws pair)*)? \"}\"\n\
                 pair ::= string ws \":\" ws value\narray ::= \"[\" ws (value (\",\" ws value)*)? \"]\"\n\
                 string ::= \"\\\"\" [^\"\\\\\\x00-\\x1F]* \"\\\"\"\nws ::= [ \\t\\n]*";
    assert_eq!(lark(json), gbnf(other));
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let message = |text: &str| Grammar::lark(text).unwrap_err().to_string();
    for (text, line, part) in [
        ("start: \"a\"??", 1, "repeated twice"),
        ("start: \"a\"~2\n  | \"b\" *+", 2, "repeated twice"),
        ("start: A\nA: ~~\"a\"", 2, "where a part belongs"),
        ("start: a\n", 1, "`a` is defined nowhere: define it"),
        ("start: nmae\nname: \"a\"", 1, "write `name`"),
        ("a: \"x\"", 1, "no rule `start`"),
        ("start: \"a\n", 2, "does not end in its line"),
        ("start: \"\\q\"", 1, "`\\q` is no escape"),
        ("start: \"\\ud800\"", 1, "0xd800 is no character"),
        ("start: \"a\"\n\nstart: \"b\"", 3, "`start` is defined already in line 1"),
        ("start: /(/\n", 1, "unclosed group"),
        ("start: /a(?=b)/", 1, "look-around"),
        ("start: /a$/", 1, "beside it"),
        ("start: /a/l", 1, "flag `l`"),
        ("start: \"b\"..\"a\"", 1, "turn it round"),
        ("start: \"a\"~3..2", 1, "at least 3 and at most 2"),
        ("start: (\"a\"\n", 2, "the group of line 1"),
        ("start: \"a\" )", 1, "behind the end of a definition"),
        ("start: A\nA: b\nb: \"x\"", 2, "the terminal `A` holds the rule `b`"),
        ("start: A\nA: \"x\" B\nB: A?", 3, "the terminal `A` holds itself"),
        ("start: \"a\" & \"b\"", 1, "`&` stands in the rule `start`"),
        ("start: ~\"a\"", 1, "`~` stands in the rule `start`"),
        ("start: \"a\"\n%declare INDENT", 2, "`%declare` is not supported"),
        ("%import python.NAME\nstart: NAME", 1, "`%import python` is not supported"),
        ("%import common.NOTHING\nstart: NOTHING", 1, "no `common.NOTHING`"),
        ("start: pair{A}\nA: \"a\"", 1, "a template"),
        ("pair{x}: x x\nstart: \"a\"", 1, "a template"),
        ("start[lazy]: \"a\"", 1, "attributes"),
        ("start: <think>", 1, "token"),
        ("start: a\na: \"x\"\n%ignore a", 3, "`a` is a rule"),
        ("start: aB", 1, "both cases"),
        ("start = \"a\"", 1, "`=` stands behind a name"),
        ("start: \"a\"{99999999999}", 1, "where a count belongs"),
    ] {
        let found = message(text);
        assert!(
            found.starts_with(&format!("line {line} of the grammar cannot be used: ")) && found.contains(part),
            "{text:?}: {found}"
        );
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    let message = |text: &str| Grammar::gbnf(text).unwrap_err().to_string();
    for (text, line, part) in [
        ("root ::= \"a\"{2}?", 1, "repeated twice"),
        ("root ::= item\n", 1, "`item` is defined nowhere"),
        ("a ::= \"x\"\n", 2, "no rule `root`"),
        ("root ::= <think> \"a\"", 1, "a token"),
        ("root ::= !<[3]>", 1, "a token"),
        ("root ::= [a-", 1, "does not end in its line"),
        ("root ::= [b-a]", 1, "turn it round"),
        ("root = \"a\"", 1, "`=` stands behind `root`"),
        ("root ::= \"a\" ) \"b\"", 1, "where a rule ends"),
        ("root ::= \"a\"\nroot ::= \"b\"", 2, "defined already in line 1"),
        ("root ::= \"a\"{2", 1, "the end stands behind a count"),
        ("root ::= a ::= \"b\"", 1, "begins within a line"),
    ] {
        let found = message(text);
        assert!(found.starts_with(&format!("line {line} of the grammar")) && found.contains(part), "{text:?}: {found}");
    }
    assert!(message(&("root ::= ".to_string() + &"(".repeat(5000))).contains("more than 200 groups"));
}

#[test]
fn hostile_grammars_end() {
    let empty = |text: &str| {
        let error = Grammar::gbnf(text).unwrap().automaton(&meter()).unwrap_err();
        assert_eq!(error, Error::Empty { message: "the grammar derives none".to_string() }, "{text}");
    };
    empty("root ::= root");
    empty("root ::= \"a\" root");
    empty("root ::= a\na ::= b \"x\"\nb ::= a | root");
    empty("root ::= \"x\" a | [] \na ::= a a");
    // What derives nothing takes nothing away from the rest, and no level.
    let (dfa, guarantee) =
        Grammar::gbnf("root ::= \"x\" | \"(\" root a \")\"\na ::= \"y\" a").unwrap().compile(&meter()).unwrap();
    check(&dfa, &["x"], &["(x)"]);
    assert_eq!(guarantee, Guarantee::Exact);
    // Rules that are one another, without a text between.
    check(&gbnf("root ::= a | \"x\"\na ::= b | \"y\"\nb ::= root | a b | "), &["", "x", "y", "xyx"], &["z"]);

    // As much within itself as is read; Lark's terminals do more at each level.
    let nested = |open: &str, close: &str| open.repeat(199) + "\"a\"" + &close.repeat(199);
    check(
        &gbnf(&format!("root ::= {}", nested("(\"b\" ", ")? | \"c\""))),
        &["c", "bbc", "bb", ""],
        &["a", "bba", "cb"],
    );
    check(&lark(&format!("start: A\nA: {}", nested("\"c\" | ~(~\"b\" & ", ")+"))), &["c"], &[]);

    let budget = Budget { states: 20_000, bytes: 64 << 20, time: Duration::from_secs(10) };
    let mut doubled = "root ::= a0\n".to_string();
    let mut chain = "root ::= a0\n".to_string();
    let mut cycle = "root ::= a0\n".to_string();
    let mut twice = "root ::= a0\n".to_string();
    for rule in 0..60 {
        writeln!(doubled, "a{rule} ::= a{0} a{0}", rule + 1).unwrap();
    }
    for rule in 0..20_000 {
        writeln!(chain, "a{rule} ::= a{} | \"y\"", rule + 1).unwrap();
    }
    for rule in 0..400 {
        writeln!(
            cycle,
            "a{rule} ::= \"(\" a{} \")\" a{} | a{} \"z\" | \"w\"",
            (rule + 1) % 400,
            (rule * 7) % 400,
            (rule * 3) % 400
        )
        .unwrap();
    }
    for rule in 0..60 {
        writeln!(twice, "a{rule} ::= a{0} \"+\" a{rule} | a{0}", rule + 1).unwrap();
    }
    doubled += "a60 ::= \"x\"\n";
    chain += "a20000 ::= \"x\"\n";
    twice += "a60 ::= \"x\"\n";
    for (text, fits) in [
        (doubled.as_str(), false),
        (&chain, true),
        (&cycle, false),
        (&twice, true),
        ("root ::= (([a-z]{100}){100}){100}", false),
        ("root ::= ((\"a\"?){100}){1000000000}", false),
        ("root ::= \"a\"{4000000000}", false),
        ("root ::= \"(\" root \")\" | \"[\" root \"]\" | \"{\" root \"}\" | \"<\" root \">\" | \"x\"", false),
    ] {
        let start = Instant::now();
        let found = Grammar::gbnf(text).unwrap().with_depth(12).compile(&budget.meter());
        match found {
            Ok((dfa, _)) => assert!(fits && dfa.states() <= budget.states, "{} states: {text:.80}", dfa.states()),
            Err(error) => {
                let told = matches!(
                    error,
                    Error::States { .. } | Error::Bytes { .. } | Error::Time { .. } | Error::Depth { .. }
                );
                assert!(told && !fits, "{text:.80}: {error}");
            }
        }
        // A guard against hanging, not a speed.
        assert!(start.elapsed() < Duration::from_secs(60), "{text:.80}: {:?}", start.elapsed());
    }
}

#[test]
fn a_depth_that_fits_is_told() {
    let brackets = "root ::= \"(\" root \")\" | \"[\" root \"]\" | \"{\" root \"}\" | \"x\"";
    let budget = Budget { states: 2_000, ..Budget::default() };
    let at = |depth: u32| Grammar::gbnf(brackets).unwrap().with_depth(depth).compile(&budget.meter());
    let error = at(9).unwrap_err();
    let Error::Depth { depth: 9, ref cause, fits: Some(fits) } = error else { panic!("{error}") };
    assert_eq!(**cause, Error::States { limit: 2_000 });
    assert!(at(fits).is_ok() && at(fits + 1).is_err(), "{fits}");
    let message =
        "nested to depth 9, the constraint needs more than 2000 states: make it simpler, or allow more; depth 5 fits";
    assert_eq!(error.to_string(), message);
    assert!(matches!(at(u32::MAX), Err(Error::Depth { fits: Some(_), .. })));
    let short = Budget { time: Duration::ZERO, ..Budget::default() };
    assert!(Grammar::gbnf(brackets).unwrap().compile(&short.meter()).is_err());
}
