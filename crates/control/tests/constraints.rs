//! What users write, against judges that know nothing of automata: substring tests, counts, the crate `regex`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm_control::constraint::{
    Banned, Case, Choice, EndsWith, Keywords, Language, Match, Order, Regex, Sentences, StartsWith, Template, Words,
    compile,
};
use lldm_control::{Budget, Error};
use proptest::prelude::*;

fn accepts(language: &dyn Language, text: &str) -> bool {
    language.automaton(&Budget::default().meter()).unwrap().accepts(text.as_bytes())
}

/// Texts of few words, so that what is looked for often stands there.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ab]{1,2}",
        Just(" ".to_string()),
        Just("-".to_string()),
        Just(".".to_string()),
        Just("!\"".to_string()),
        Just("é".to_string()),
        Just("A".to_string()),
        Just("\n".to_string()),
        Just("1".to_string()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof!["[ab]{1,2}", Just("a b".to_string()), Just("a.".to_string())], 1..4)
}

/// Where a word stands, by hand.
fn places(text: &str, word: &str, matches: Match, case: Case) -> Vec<(usize, usize)> {
    let fold = |text: &str| if case == Case::Any { text.to_lowercase() } else { text.to_string() };
    let (text, word) = (fold(text), fold(word));
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let bytes = text.as_bytes();
    (0..=text.len().saturating_sub(word.len()))
        .filter(|at| bytes[*at..].starts_with(word.as_bytes()))
        .map(|at| (at, at + word.len()))
        .filter(|(from, to)| {
            matches == Match::Substring
                || ((*from == 0 || !inner(bytes[from - 1])) && (*to == bytes.len() || !inner(bytes[*to])))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keywords_and_banned_words(text in texts(), words in words(), substring in any::<bool>(), any_case in any::<bool>()) {
        let matches = if substring { Match::Substring } else { Match::Word };
        let case = if any_case { Case::Any } else { Case::Exact };
        let there: Vec<_> = words.iter().map(|word| places(&text, word, matches, case)).collect();
        let keywords = |order| Keywords { words: words.clone(), order, matches, case };
        prop_assert_eq!(accepts(&keywords(Order::All), &text), there.iter().all(|places| !places.is_empty()));
        prop_assert_eq!(accepts(&keywords(Order::Any), &text), there.iter().any(|places| !places.is_empty()));
        // The earliest end after which the next one begins; whole words stand apart.
        let mut end = Some(0);
        for (at, places) in there.iter().enumerate() {
            let apart = usize::from(at > 0 && matches == Match::Word);
            end = end.and_then(|end| places.iter().filter(|(from, _)| *from >= end + apart).map(|(_, to)| *to).min());
        }
        prop_assert_eq!(accepts(&keywords(Order::InOrder), &text), end.is_some(), "{:?} in {:?}", words, text);
        let banned = Banned { words: words.clone(), matches, case };
        prop_assert_eq!(accepts(&banned, &text), there.iter().all(Vec::is_empty));
    }

    #[test]
    fn counts(text in texts(), from in 0u32..4, more in prop::option::of(0u32..3)) {
        let to = more.map(|more| from + more);
        let fits = |count: usize| count >= from as usize && to.is_none_or(|to| count <= to as usize);
        let count = text.split_ascii_whitespace().count();
        prop_assert_eq!(accepts(&Words { from, to }, &text), fits(count), "{:?}", text);
        // Words that end a sentence, if the last one does.
        let ends = |word: &str| word.trim_end_matches(['"', '\'', ')', ']', '.', '!', '?']).len() < word.len()
            && word.trim_end_matches(['"', '\'', ')', ']']).ends_with(['.', '!', '?']);
        let all: Vec<bool> = text.split_ascii_whitespace().map(ends).collect();
        let expected = all.last().copied().unwrap_or(true) && fits(all.iter().filter(|end| **end).count());
        prop_assert_eq!(accepts(&Sentences { from, to }, &text), expected, "{:?}", text);
    }

    #[test]
    fn beginnings_ends_choices_and_all_of_them(text in texts(), start in "[ab.]{0,2}", end in "[ab.]{0,2}") {
        prop_assert_eq!(accepts(&StartsWith(start.clone()), &text), text.starts_with(&start));
        prop_assert_eq!(accepts(&EndsWith(end.clone()), &text), text.ends_with(&end));
        let options = vec![text.clone(), format!("{text}{end}"), start.clone()];
        prop_assert!(accepts(&Choice(options.clone()), &text));
        prop_assert_eq!(accepts(&Choice(options.clone()), &format!("{text}a")), options.contains(&format!("{text}a")));
        let (first, last, some) = (StartsWith(start.clone()), EndsWith(end.clone()), Words { from: 1, to: None });
        let all: [&dyn Language; 3] = [&first, &last, &some];
        let both = compile(&all, Budget::default()).unwrap().accepts(text.as_bytes());
        prop_assert_eq!(both, all.iter().all(|language| accepts(*language, &text)));
    }
}

#[test]
fn templates_keep_their_text() {
    let template = Template("Dear ____, (yours) ____{2,3}.".to_string());
    for (text, good) in [
        ("Dear Ann, (yours) abc.", true),
        ("Dear A, B, (yours) ab.", true),
        ("Dear é\n, (yours) éé.", true),
        ("Dear , (yours) ab.", false),
        ("Dear Ann, (yours) a.", false),
        ("Dear Ann, (yours) abcd.", false),
        ("Dear Ann, yours abc.", false),
        ("dear Ann, (yours) abc.", false),
        ("Dear Ann, (yours) abc. ", false),
    ] {
        assert_eq!(accepts(&template, text), good, "{text}");
    }
    assert!(accepts(&Template("a __ b {x}".to_string()), "a __ b {x}"), "two underscores are text");
    assert!(accepts(&Template("___{x}".to_string()), "1{x}"), "what is no number is text");
    assert!(accepts(&Template("___{2}".to_string()), "12") && !accepts(&Template("___{2}".to_string()), "1"));
    for (template, part) in [("___{3,2}", "{3,2}"), ("___{1,b}", "{1,b}")] {
        let error = Template(template.to_string()).automaton(&Budget::default().meter()).unwrap_err();
        assert!(matches!(error, Error::Template { .. }) && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn six_keywords_at_once() {
    let words = ["spaceship", "ocean", "night", "captain", "silent", "lake"];
    let start = std::time::Instant::now();
    let dfa = Keywords::all(words).automaton(&Budget::default().meter()).unwrap();
    assert!(dfa.accepts(b"The silent captain of the spaceship crossed an ocean, a lake and the night."));
    assert!(!dfa.accepts(b"The silent captain of the spaceships crossed an ocean, a lake and the night."));
    assert!(dfa.states() < 5_000, "{}", dfa.states());
    assert!(start.elapsed().as_secs() < 60, "a guard against hanging: {:?}", start.elapsed());
}

#[test]
fn what_cannot_be_is_told() {
    let error = |language: &dyn Language| language.automaton(&Budget::default().meter()).unwrap_err().to_string();
    assert!(error(&Choice(vec![])).contains("nothing to choose from"));
    assert!(error(&Keywords::all(Vec::<String>::new())).contains("no words"));
    assert!(error(&Keywords::all([" "])).contains("empty"));
    assert!(error(&Words { from: 3, to: Some(2) }).contains("at least 3 and at most 2 words"));
    let (must, not) =
        (Keywords::all(["a"]), Banned { words: vec!["a".to_string()], matches: Match::Word, case: Case::Any });
    let both = compile(&[&must, &not, &Regex(".*".to_string())], Budget::default());
    assert_eq!(both, Err(Error::Empty { message: "its parts exclude each other".to_string() }));
    let small = Budget { states: 10, ..Budget::default() };
    assert_eq!(compile(&[&Words { from: 50, to: None }], small), Err(Error::States { limit: 10 }));
}
