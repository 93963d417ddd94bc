//! The verifier against the automata: what a bounded language holds is derived, and what lies deeper is too.
#![cfg(feature = "verifier")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod members;

use lldm_control::constraint::{Grammar, SHIPPED, Verifier, shipped};
use lldm_control::{Budget, ByteDfa};
use lldm_diffusion::Token;
use members::Members;

/// The bytes, and two longer pieces; the last token ends a text.
fn vocabulary() -> (Vec<Option<Vec<u8>>>, Vec<Token>) {
    let mut tokens: Vec<Option<Vec<u8>>> = (0..=255u8).map(|byte| Some(vec![byte])).collect();
    tokens.extend([Some(b"]]".to_vec()), Some(b"SELECT ".to_vec()), None]);
    (tokens, vec![258])
}

fn verifier(grammar: &Grammar) -> Verifier {
    let (tokens, end) = vocabulary();
    Verifier::new(grammar, &tokens, &end).unwrap()
}

fn bytes(text: &str) -> Vec<Token> {
    text.bytes().map(Token::from).collect()
}

fn automaton(grammar: &Grammar) -> ByteDfa {
    grammar.compile(&Budget::default().meter()).unwrap().0
}

#[test]
fn the_verifier_accepts_members_and_what_is_deeper() {
    for entry in SHIPPED {
        let grammar = shipped(entry.name).unwrap();
        let (dfa, verifier) = (automaton(&grammar), verifier(&grammar));
        let members = Members::new(&dfa);
        for seed in 0..100 {
            let text = members.draw(seed);
            let tokens: Vec<Token> = text.iter().map(|byte| Token::from(*byte)).collect();
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(verifier.accepts(&tokens), Ok(true), "{}: {shown}", entry.name);
            // A text cut short is no member, unless the automaton says so.
            let cut = &text[..text.len() / 2];
            assert_eq!(
                verifier.accepts(&tokens[..cut.len()]),
                Ok(dfa.accepts(cut)),
                "{}: {}",
                entry.name,
                String::from_utf8_lossy(cut)
            );
        }
        let deep = |levels: usize| match entry.name {
            "json" => "[{\"a\":".repeat(levels) + "1" + &"}]".repeat(levels),
            "python-expression" => "f([".repeat(levels) + "x" + &"])".repeat(levels),
            _ => format!("SELECT {}a{} FROM t", "(1 + f(".repeat(levels), "))".repeat(levels)),
        };
        for levels in 4..9 {
            let text = deep(levels);
            assert_eq!(verifier.accepts(&bytes(&text)), Ok(true), "{text}");
            assert!(!dfa.accepts(text.as_bytes()), "{text} is deeper than {}", entry.depth);
            let broken = text.replacen([']', ')'], "", 1);
            assert_eq!(verifier.accepts(&bytes(&broken)), Ok(false), "{broken}");
        }
    }
}

#[test]
fn what_may_follow_leads_to_members() {
    for entry in SHIPPED {
        let grammar = shipped(entry.name).unwrap();
        let (dfa, verifier) = (automaton(&grammar), verifier(&grammar));
        let text = Members::new(&dfa).draw(7);
        let (mut prefix, mut state) = (verifier.start(), 0);
        for byte in text {
            let allowed = prefix.allowed().unwrap();
            for next in 0..=255u8 {
                // What the depth cuts off, the verifier still allows.
                let here = dfa.next(state, next).is_some();
                assert!(!here || allowed[next as usize], "{}: {:?}", entry.name, next as char);
            }
            assert_eq!(allowed[258], dfa.is_accepting(state), "{}", entry.name);
            assert!(prefix.push(byte.into()).unwrap());
            state = dfa.next(state, byte).unwrap();
        }
        assert!(prefix.may_end().unwrap());
    }
}

#[test]
fn both_forms_reach_the_verifier() {
    let json = "root ::= ws value\nvalue ::= (object | \"[\" ws (value (\",\" ws value)*)? \"]\" | string | [0-9]+) ws\n\
                object ::= \"{\" ws (string ws \":\" ws value)? \"}\"\nstring ::= \"\\\"\" [^\"\\\\\\x00-\\x1F/]* \"\\\"\"\nws ::= [ \\t\\n]*";
    let lark = "start: value\nvalue: \"{\" [STRING \":\" value] \"}\" | \"[\" [value (\",\" value)*] \"]\" | STRING | /[0-9]+/\n\
                STRING: \"\\\"\" /[^\"\\\\\\x00-\\x1f\\/]/* \"\\\"\"\n%ignore /[ \\t]/ | NL\nNL: \"\\n\" & ~\"x\"";
    let (gbnf, lark) = (Grammar::gbnf(json).unwrap(), Grammar::lark(lark).unwrap());
    assert_eq!(automaton(&gbnf), automaton(&lark));
    let verifiers = [verifier(&gbnf), verifier(&lark)];
    for (text, good) in [
        (" [1, {\"a\" :\n[]}, \"é\"] ", true),
        ("{}", true),
        ("[[[[[[[[1]]]]]]]]", true),
        ("", false),
        ("[1,]", false),
        ("\"/\"", false),
        ("[[1]", false),
    ] {
        for verifier in &verifiers {
            assert_eq!(verifier.accepts(&bytes(text)), Ok(good), "{text}");
        }
        if good && text.ends_with("]]") {
            let tokens = [&bytes(text)[..text.len() - 2], &[256]].concat();
            assert_eq!(verifiers[0].accepts(&tokens), Ok(true));
        }
    }
    let any_case = Grammar::lark("start: \"select é\"i+ /a\\/b/s \"-/\"").unwrap();
    let both = (automaton(&any_case), verifier(&any_case));
    for text in ["SeLECT éselect Éa/b-/", "select éa/b-/", "\u{17f}elect éa/b-/", "select éa\\/b-/", "select ea/b-/"]
    {
        assert_eq!(both.1.accepts(&bytes(text)), Ok(both.0.accepts(text.as_bytes())), "{text}");
    }
}

/// The lexer takes the longest terminal: the automaton does not.
#[test]
fn the_verifier_may_be_narrower() {
    let grammar = Grammar::lark("start: /a+/ \"ab\"").unwrap();
    assert!(automaton(&grammar).accepts(b"aab"));
    assert_eq!(verifier(&grammar).accepts(&bytes("aab")), Ok(false));
}
