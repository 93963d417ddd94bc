//! Automata over bytes and tokens against independent judges: the crate `regex`, and the definition.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use lldm_control::automaton::{ByteSet, Expression, Not, lift, regex};
use lldm_control::budget::Meter;
use lldm_control::{Budget, ByteDfa, Error, Vocabulary};
use lldm_diffusion::Token;
use proptest::prelude::*;

fn meter() -> Meter {
    Budget::default().meter()
}

/// Expressions over a, b, c and an accented letter.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abc]",
        Just("é".to_string()),
        Just("[a-b]".to_string()),
        Just("[^a]".to_string()),
        Just(".".to_string()),
        Just("(?:)".to_string()),
        Just("\\b".to_string()),
        Just("^".to_string()),
        Just("$".to_string()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            inner.clone().prop_map(|inner| format!("(?:{inner})*")),
            inner.clone().prop_map(|inner| format!("(?:{inner})+?")),
            inner.clone().prop_map(|inner| format!("(?:{inner})?")),
            (inner, 0u8..3, 0u8..3).prop_map(|(inner, from, more)| format!("(?:{inner}){{{from},{}}}", from + more)),
        ]
    })
}

fn strings(letters: &[&str], length: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..length {
        last = last.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}"))).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// An expression of parts, and the same for the crate `regex`.
fn built() -> impl Strategy<Value = (Expression, String)> {
    let leaf = prop_oneof![
        Just((Expression::Bytes(ByteSet::of(*b"ab")), "[ab]".to_string())),
        Just((Expression::text("b"), "b".to_string())),
        Just((Expression::nothing(), "(?:)".to_string())),
        Just((Expression::never(), "[a&&b]".to_string())),
        expressions().prop_filter_map("a language with texts", |pattern| {
            let dfa = regex(&pattern, &meter()).ok().filter(|_| !pattern.contains(['^', '$', '\\']))?;
            Some((Expression::Automaton(Arc::new(dfa)), format!("(?:{pattern})")))
        }),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 0..3);
        let split = |parts: Vec<(Expression, String)>| -> (Vec<_>, Vec<_>) { parts.into_iter().unzip() };
        prop_oneof![
            several.clone().prop_map(move |parts| {
                let (parts, patterns) = split(parts);
                (Expression::Sequence(parts), patterns.concat())
            }),
            prop::collection::vec(inner.clone(), 1..3).prop_map(move |parts| {
                let (parts, patterns) = split(parts);
                (Expression::Choice(parts), format!("(?:{})", patterns.join("|")))
            }),
            (inner, 0u32..3, prop::option::of(0u32..3)).prop_map(|((part, pattern), from, more)| {
                let to = more.map(|more| from + more);
                let bounds = to.map_or(format!("{from},"), |to| format!("{from},{to}"));
                (part.repeated(from, to), format!("(?:{pattern}){{{bounds}}}"))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_expression_means_what_the_regex_crate_says(pattern in expressions()) {
        let judge = ::regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        let texts = strings(&["a", "b", "é", " "], 4);
        match regex(&pattern, &meter()) {
            Ok(dfa) => for text in texts {
                prop_assert_eq!(dfa.accepts(text.as_bytes()), judge.is_match(&text), "{:?} under {}", text, pattern);
            },
            Err(Error::Empty { .. }) => prop_assert!(!texts.iter().any(|text| judge.is_match(text)), "{}", pattern),
            // The compiler of dense automata has no Unicode word boundaries.
            Err(error) => prop_assert!(pattern.contains("\\b"), "{}: {}", pattern, error),
        }
    }

    #[test]
    fn expressions_of_parts_mean_what_their_pattern_says((expression, pattern) in built()) {
        let judge = ::regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
        let texts = strings(&["a", "b", "é"], 4);
        match expression.compile(&meter()) {
            Ok(dfa) => for text in texts {
                prop_assert_eq!(dfa.accepts(text.as_bytes()), judge.is_match(&text), "{:?} under {}", text, pattern);
            },
            Err(error) => {
                prop_assert!(matches!(error, Error::Empty { .. }), "{error}");
                prop_assert!(!texts.iter().any(|text| judge.is_match(text)), "{}", pattern);
            }
        }
    }

    #[test]
    fn products_and_complements_are_sets(first in expressions(), second in expressions()) {
        let (Ok(first), Ok(second)) = (regex(&first, &meter()), regex(&second, &meter())) else { return Ok(()) };
        let (both, not) = (ByteDfa::all(&[first.clone(), second.clone()], &meter()), first.complement(&meter()));
        for text in strings(&["a", "b", "c"], 4) {
            let text = text.as_bytes();
            let found = both.as_ref().is_ok_and(|both| both.accepts(text));
            prop_assert_eq!(found, first.accepts(text) && second.accepts(text));
            prop_assert_eq!(not.as_ref().is_ok_and(|not| not.accepts(text)), !first.accepts(text));
        }
        // Minimal automata of one language are the same table.
        if let Ok(not) = not {
            prop_assert_eq!(ByteDfa::explore(&Not(&not), &meter()), Ok(first.clone()));
        }
        prop_assert_eq!(ByteDfa::all(&[first.clone(), first.clone()], &meter()), Ok(first));
    }

    /// Tokens of one to three letters, some of them twice, one that is special and spells a letter.
    #[test]
    fn a_lifted_automaton_accepts_the_tokens_of_accepted_bytes(pattern in expressions(), extra in prop::collection::vec("[abé]{1,3}", 0..6)) {
        let Ok(dfa) = regex(&pattern, &meter()) else { return Ok(()) };
        let spellings = ["a", "b", "ab", "é"].into_iter().map(str::to_string).chain(extra);
        let mut tokens: Vec<Option<Vec<u8>>> = spellings.map(|text| Some(text.into_bytes())).collect();
        // Half of a letter, the other half, and two that are no text.
        tokens.extend([Some(vec![0xC3]), Some(vec![0xA9]), None, Some(b"a".to_vec())]);
        let (special, end) = (tokens.len() as Token - 2, tokens.len() as Token - 1);
        let vocabulary = Vocabulary::new(&tokens, &[end]);
        let automaton = match lift(&dfa, &vocabulary, &meter()) {
            Ok(automaton) => automaton,
            Err(error) => {
                let spelled = strings(&["a", "b", "é"], 4).iter().any(|text| dfa.accepts(text.as_bytes()));
                prop_assert!(matches!(error, Error::Empty { .. }) && !spelled, "{}: {}", pattern, error);
                return Ok(());
            }
        };
        prop_assert_eq!(automaton.class_of()[end as usize], automaton.end_class());
        let mut texts: Vec<Vec<Token>> = vec![Vec::new()];
        let mut last = texts.clone();
        for _ in 0..3 {
            last = last.iter().flat_map(|text| (0..tokens.len() as Token).map(|token| [&text[..], &[token]].concat())).collect();
            texts.extend(last.iter().cloned());
        }
        for text in texts {
            let spelled: Option<Vec<u8>> =
                text.iter().map(|token| tokens[*token as usize].as_ref().filter(|_| *token != end)).try_fold(Vec::new(), |all, bytes| Some([&all[..], bytes?].concat()));
            let expected = !text.contains(&special) && spelled.is_some_and(|bytes| dfa.accepts(&bytes));
            prop_assert_eq!(automaton.accepts(&text), expected, "{:?} under {}", text, pattern);
        }
        // No two classes do the same.
        let columns: Vec<Vec<Option<u32>>> = (0..automaton.classes() as u16).filter(|class| *class != automaton.end_class()).map(|class| {
            let to = |state| automaton.edges(state).find(|edge| edge.classes.contains(&class)).map(|edge| edge.to);
            (0..automaton.states() as u32).map(to).collect()
        }).collect();
        for (at, column) in columns.iter().enumerate() {
            prop_assert!(!columns[..at].contains(column));
        }
    }
}

#[test]
fn hostile_expressions_end_in_an_error() {
    let budget = Budget { states: 20_000, bytes: 64 << 20, time: Duration::from_secs(10) };
    for pattern in [
        "(a|b)*a(a|b){20}",
        "(.*a){30}",
        ".{10000}",
        "(((a{100}){100}){100}){100}",
        "[\\p{L}]{3000}",
        "(a?){500}(a{500})",
    ] {
        let start = Instant::now();
        let error = regex(pattern, &budget.meter());
        let told =
            matches!(error, Err(Error::States { .. } | Error::Bytes { .. } | Error::Time { .. } | Error::Regex { .. }));
        assert!(told || error.is_ok_and(|dfa| dfa.states() <= budget.states), "{pattern}");
        // A guard against hanging, not a speed.
        assert!(start.elapsed() < Duration::from_secs(120), "{pattern}: {:?}", start.elapsed());
    }
    let message = |pattern: &str| regex(pattern, &meter()).unwrap_err().to_string();
    assert_eq!(message("a(b"), "`a(b` is no regular expression that can be used: unclosed group");
    assert!(message("(?=a)").contains("look-around"), "{}", message("(?=a)"));
    assert!(message("a\\b").lines().count() == 1);
    assert_eq!(message("[a&&b]"), "no text satisfies the constraint: its parts exclude each other");
}
