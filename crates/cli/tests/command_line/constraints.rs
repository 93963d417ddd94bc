//! `lldm run` under constraints and `lldm fill`, on the toy model and on the one that comes with the program.

use serde_json::Value;

use crate::program::Place;

/// What `lldm run` writes, without the line end.
fn text(place: &Place, args: &[&str]) -> String {
    let told = place.good(&[&["run"], args].concat());
    told.strip_suffix('\n').unwrap().to_string()
}

fn words(text: &str) -> Vec<&str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

/// A sentence ends with a mark, behind which brackets and quotation marks may stand, before a space.
fn sentences(text: &str) -> usize {
    let ends = |word: &&str| {
        word.trim_end_matches(['"', '\'', ')', ']', '.', '!', '?']) != *word && word.contains(['.', '!', '?'])
    };
    text.split_whitespace().filter(ends).count()
}

#[test]
fn words_that_must_be_there_are_there_for_any_seed() {
    let place = Place::new();
    for seed in ["3", "4", "5", "17", "99"] {
        let text = text(&place, &["--must-include", "spaceship,ocean", "--seed", seed]);
        assert!(words(&text).contains(&"spaceship") && words(&text).contains(&"ocean"), "{text}");
        assert_eq!(sentences(&text), 1, "{text}");
        let text = text_of_toy(&place, seed);
        assert!(text.contains("stars") && text.contains("silent"), "{text}");
    }
}

/// A model of a few sentences, none of which holds both words: the constraint is stronger.
fn text_of_toy(place: &Place, seed: &str) -> String {
    text(place, &["-m", "toy", "--must-include", "stars,silent", "--seed", seed])
}

#[test]
fn all_flags_hold_together() {
    let place = Place::new();
    for seed in ["1", "2", "3"] {
        let args = [
            "--any-of",
            "King,BOY",
            "--ignore-case",
            "--banned",
            "the",
            "--length",
            "6..14words",
            "--length",
            "1sentence",
            "--ends-with",
            "!",
        ];
        let text = text(&place, &[&args[..], &["--seed", seed, "Once"]].concat());
        let lower = text.to_lowercase();
        assert!(words(&lower).iter().any(|word| ["king", "boy"].contains(word)), "{text}");
        assert!(!words(&lower).contains(&"the") && text.ends_with('!') && sentences(&text) == 1, "{text}");
        assert!((6..=14).contains(&text.split_whitespace().count()), "{text}");
    }
    let dated = text(&place, &["--regex", "[0-9]{4}-[01][0-9]", "--starts-with", "19", "--seed", "2", "It was"]);
    assert!(dated.len() == 7 && dated.starts_with("19") && dated.as_bytes()[4] == b'-', "{dated}");
    let letter = text(&place, &["--template", "Dear ____{3,12}, I am ____{2,20}!", "--seed", "2"]);
    assert!(letter.starts_with("Dear ") && letter.contains(", I am ") && letter.ends_with('!'), "{letter}");
    assert!(["yes", "no, never"].contains(&text(&place, &["--choices", r"yes,no\, never", "--seed", "1"]).as_str()));
    let order = text(&place, &["--must-include", "moon,sun", "--in-order", "--length", "..30words", "--seed", "5"]);
    let at = |word: &str| words(&order).iter().position(|other| *other == word).unwrap();
    assert!(at("moon") < words(&order).iter().rposition(|word| *word == "sun").unwrap(), "{order}");
}

#[test]
fn json_is_valid_under_its_schema() {
    let place = Place::new();
    place.file("schema.json", r#"{"type": "object", "properties": {"name": {"type": "string", "minLength": 2}, "age": {"type": "integer", "minimum": 18, "maximum": 99}}, "required": ["name", "age"], "additionalProperties": false}"#);
    for seed in ["1", "2", "3"] {
        let text = text(&place, &["--json-schema", "schema.json", "--seed", seed, "A person:"]);
        let value: Value = serde_json::from_str(&text).unwrap();
        let object = value.as_object().unwrap();
        assert!(object.len() == 2 && object["name"].as_str().unwrap().chars().count() >= 2, "{text}");
        assert!((18..=99).contains(&object["age"].as_i64().unwrap()), "{text}");
    }
    let inline = text(&place, &["--json-schema", r#"{"enum": ["red", "green", 3]}"#, "--seed", "1"]);
    assert!(["\"red\"", "\"green\"", "3"].contains(&inline.trim()), "{inline}");
}

#[test]
fn the_result_says_what_is_guaranteed() {
    let place = Place::new();
    let args = ["run", "-m", "toy", "--must-include", "stars", "--seed", "3", "--json"];
    let json: Value = serde_json::from_str(&place.good(&args)).unwrap();
    insta::assert_snapshot!(json["constraint"], @r#"{"guarantee":"exact","byte_states":9,"states":4,"classes":4}"#);
    let plain: Value = serde_json::from_str(&place.good(&["run", "-m", "toy", "--seed", "3", "--json"])).unwrap();
    assert!(plain.get("constraint").is_none());
    let schema = [
        "run",
        "--json-schema",
        r#"{"type": "array"}"#,
        "--depth",
        "2",
        "--length",
        "..12tokens",
        "--json",
        "--seed",
        "1",
    ];
    let json: Value = serde_json::from_str(&place.good(&schema)).unwrap();
    assert_eq!(json["constraint"]["guarantee"], serde_json::json!({"exact_bounded_depth": 2}));
    // Frames carry ln Z.
    let lines = place.good(&["run", "-m", "toy", "--must-include", "stars", "--seed", "3", "--jsonl"]);
    let log_z = |line: &str| -> Option<f64> { serde_json::from_str::<Value>(line).unwrap().get("log_z")?.as_f64() };
    assert!(lines.lines().filter_map(log_z).count() > 3, "{lines}");
}

#[test]
fn explain_tells_what_a_constraint_came_to() {
    let place = Place::new();
    let ran = place.run(&["run", "-m", "toy", "--must-include", "ocean", "--seed", "3", "--explain", "the"]);
    insta::with_settings!({ filters => vec![(r"compiled in [0-9.]+ ms", "compiled in [MS] ms")] }, {
        insta::assert_snapshot!(ran.told());
    });
}

#[test]
fn constraints_hold_for_many_texts() {
    let place = Place::new();
    let lines: Vec<_> = (0..6).map(|n| format!("{{\"prompt\": \"{}\"}}\n", ["", "the"][n % 2])).collect();
    place.file("prompts.jsonl", &lines.concat());
    let args =
        ["run", "-m", "toy", "--input", "prompts.jsonl", "--must-include", "ocean", "--seed", "1", "--batch", "3"];
    let told = place.good(&args);
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_string();
    assert!(told.lines().count() == 6 && told.lines().all(|line| text(line).contains("ocean")), "{told}");
}

#[test]
fn particles_write_a_valid_text_and_tell_of_themselves() {
    let place = Place::new();
    let args = ["run", "-m", "toy", "--must-include", "ocean", "--sampler", "first_hitting", "--seed", "3", "the"];
    let json = |particles: &[&str]| -> Value {
        serde_json::from_str(&place.good(&[&args[..], &["--json"], particles].concat())).unwrap()
    };
    let (plain, some) = (json(&[]), json(&["--particles", "6"]));
    assert!(some["text"].as_str().unwrap().contains("ocean"), "{some}");
    assert_eq!(some["particles"]["count"], 6);
    assert!(some["usage"]["nfe"].as_u64() > plain["usage"]["nfe"].as_u64().map(|nfe| 3 * nfe), "{some}");
    assert_eq!(some, json(&["--particles", "6"]));
    assert_eq!(json(&["--particles", "1"])["text"], plain["text"]);
    let told = place.run(&[&args[..], &["--particles", "6", "--explain"]].concat());
    assert!(told.stderr.contains("6 particles, drawn anew "), "{told:?}");
    place.file("prompts.jsonl", "{\"prompt\": \"the\", \"seed\": 3}\n");
    let lines = [&args[..9], &["--input", "prompts.jsonl", "--particles", "6"]].concat();
    let line: Value = serde_json::from_str(&place.good(&lines)).unwrap();
    assert_eq!(line["text"], some["text"]);
}

#[test]
fn gaps_are_filled_and_the_rest_is_kept() {
    let place = Place::new();
    let filled = place.good(&["fill", "The old king went to the ____.", "--seed", "1"]);
    assert!(
        filled.starts_with("The old king went to the ") && filled.ends_with(".\n") && filled.len() > 28,
        "{filled}"
    );
    assert_eq!(filled, place.good(&["fill", "The old king went to the ____.", "--seed", "1"]), "the same seed");
    let between = place.good(&["fill", "--prefix", "I went home", "--suffix", " because I was ill.", "--seed", "2"]);
    assert!(between.starts_with("I went home") && between.ends_with(" because I was ill.\n"), "{between}");

    // A file keeps its line ends, and becomes whole or not at all.
    let letter = "Dear boy,\r\n\r\nthe river is cold.  \nYours";
    place.file("letter.txt", letter);
    let args = ["fill", "--file", "letter.txt", "--span", "17..22", "--strength", "1", "--seed", "3"];
    let out = place.good(&args);
    assert!(out.starts_with(&letter[..17]) && out.ends_with(&letter[22..]), "{out:?}");
    place.good(&[&args[..], &["--output", "letter.txt"]].concat());
    assert_eq!(place.read("letter.txt"), out);
    let piped = place.run_on("one <gap> two\n", &["fill", "--mask", "<gap>", "--seed", "1", "--gap", "[a-z]+"]);
    let gap = piped.stdout.strip_prefix("one ").and_then(|rest| rest.strip_suffix(" two\n")).unwrap();
    assert!(!gap.is_empty() && gap.bytes().all(|byte| byte.is_ascii_lowercase()), "{piped:?}");

    let json =
        place.good(&["fill", "-m", "toy", "the old ____ counted every ____ on the lake", "--seed", "2", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["gaps"].as_array().unwrap().len(), 2);
    assert!(json["text"].as_str().unwrap().ends_with(" on the lake"), "{json}");
}

/// Whatever is wrong with a constraint is said in one line.
#[test]
fn mistakes() {
    let place = Place::new();
    place.file("no.json", "{");
    let mut told = String::new();
    for args in [
        &["run", "-m", "toy", "--regex", "(a"][..],
        &["run", "-m", "toy", "--regex", "(a{1000}){1000}"],
        &["run", "-m", "toy", "--must-include", "a,,b"],
        &["run", "-m", "toy", "--must-include", "rocket"],
        &["run", "-m", "toy", "--length", "5-7words"],
        &["run", "-m", "toy", "--length", "9..3words"],
        &["run", "-m", "toy", "--length", "40words"],
        &["run", "-m", "toy", "--length", "3words", "--length", "5words"],
        &["run", "-m", "toy", "--json-schema", "missing.json"],
        &["run", "-m", "toy", "--json-schema", "no.json"],
        &["run", "-m", "toy", "--json-schema", r#"{"not": {}}"#],
        &["run", "-m", "toy", "--template", "a ____{9,2}"],
        &["run", "-m", "toy", "--depth", "3"],
        &["run", "-m", "toy", "--explain"],
        &["run", "-m", "toy", "--particles", "4"],
        &["run", "-m", "toy", "--particles", "0", "--must-include", "ocean"],
        &["run", "-m", "toy", "--particles", "4", "--must-include", "ocean", "--temperature", "0"],
        &["run", "-m", "toy", "--particles", "4", "--must-include", "ocean", "--sampler", "remdm"],
        &["run", "-m", "toy", "--guidance", "inf"],
        &["run", "-m", "toy", "--in-order"],
        &["run", "-m", "toy", "--ignore-case"],
        &["fill", "-m", "toy", "no gap"],
        &["fill", "-m", "toy", "a ____", "--strength", "0.5"],
        &["fill", "-m", "toy", "a boat", "--span", "1-3"],
        &["fill", "-m", "toy", "a boat", "--span", "1..30"],
        &["fill", "-m", "toy", "a ____", "-n", "5"],
        &["fill", "-m", "toy", "a ____", "--gap", "[0-9]"],
        &["fill", "-m", "toy", "--file", "missing.txt"],
    ] {
        let ran = place.run(args);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.lines().count()), (Some(1), "", 1), "{args:?}: {ran:?}");
        told.push_str(&format!("$ lldm {}\n{}", args.join(" "), ran.stderr));
    }
    insta::assert_snapshot!(told);
}
