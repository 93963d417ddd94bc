//! `lldm run --input prompts.jsonl --output results.jsonl`.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::program::Place;

const RUN: &[&str] =
    &["run", "-m", "toy", "--seed", "5", "--input", "prompts.jsonl", "--output", "results.jsonl", "--quiet"];

fn prompts(count: usize) -> String {
    let words = ["the", "the spaceship", "a small boat", "noise becomes", ""];
    (0..count)
        .map(|n| {
            let prompt = words[n % words.len()];
            match n % 3 {
                0 => format!("{{\"prompt\": \"{prompt}\"}}\n"),
                1 => format!("{{\"prompt\": \"{prompt}\", \"id\": \"p{n}\"}}\n"),
                _ => format!("{{\"prompt\": \"{prompt}\", \"seed\": {}}}\n", n * n),
            }
        })
        .collect()
}

#[test]
fn results_do_not_depend_on_the_batch() {
    let place = Place::new();
    place.file("prompts.jsonl", &prompts(20));
    let results: Vec<_> = ["1", "3", "32"]
        .into_iter()
        .map(|batch| {
            place.good(&[RUN, &["--batch", batch]].concat());
            let results = place.read("results.jsonl");
            std::fs::remove_file(place.path().join("results.jsonl")).unwrap();
            results
        })
        .collect();
    assert_eq!(results[0].lines().count(), 20);
    assert!(results[0] == results[1] && results[0] == results[2]);
    assert_eq!(place.good(&[&RUN[..7], &["--quiet"]].concat()), results[0], "without --output, stdout");

    // Each line holds the seed that makes its text again.
    for line in results[0].lines().take(6) {
        let value: Value = serde_json::from_str(line).unwrap();
        let (seed, prompt) = (value["seed"].to_string(), value["prompt"].as_str().unwrap());
        let alone: Value =
            serde_json::from_str(&place.good(&["run", "-m", "toy", "--seed", &seed, "--json", prompt])).unwrap();
        assert_eq!((&alone["text"], &alone["usage"]), (&value["text"], &value["usage"]));
    }
}

#[test]
fn a_killed_run_goes_on_where_it_stopped() {
    let place = Place::new();
    place.file("prompts.jsonl", &prompts(6000));
    place.good(RUN);
    let whole = place.read("results.jsonl");
    let results = place.path().join("results.jsonl");
    std::fs::remove_file(&results).unwrap();

    let mut child = place.command(RUN).spawn().unwrap();
    while std::fs::metadata(&results).map_or(0, |meta| meta.len()) < 4000 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let part = place.read("results.jsonl");
    assert!(part.len() < whole.len() && whole.starts_with(&part));

    // The line under way when a machine stops may be torn.
    std::fs::write(&results, &whole[..whole.len() / 2]).unwrap();
    place.good(&[RUN, &["--batch", "7"]].concat());
    assert!(place.read("results.jsonl") == whole);
    let again = place.run(&RUN[..9]);
    assert_eq!(again.stderr, "6000 of 6000 lines have their result already\n");
    assert!(place.read("results.jsonl") == whole);
}

#[test]
fn a_bad_line_is_named_and_those_before_it_are_kept() {
    let place = Place::new();
    let long = "the ".repeat(5000);
    place.file("prompts.jsonl", &format!("{}{{\"prompt\": \"{long}\"}}\n{}", prompts(3), prompts(1)));
    let mut told = std::collections::HashSet::new();
    for batch in ["1", "2", "5"] {
        let ran = place.run(&[RUN, &["--batch", batch]].concat());
        told.insert(ran.told());
        assert_eq!(place.read("results.jsonl").lines().count(), 3);
        std::fs::remove_file(place.path().join("results.jsonl")).unwrap();
    }
    assert_eq!(told.len(), 1, "the batch makes no difference: {told:?}");
    insta::assert_snapshot!(told.into_iter().collect::<String>(), @r"
    code 1
    stdout:
    stderr: error: prompts.jsonl line 4: the prompt has 5000 tokens and 1 more are asked for, but the model sees at most 4096: shorten the prompt or ask for fewer tokens
    ");
}

#[test]
fn mistakes_in_files_of_lines_are_named() {
    let place = Place::new();
    let mut told = HashMap::new();
    for (name, prompts) in [
        ("no json", "{\"prompt\": \"a\"}\nprompt\n"),
        ("unknown key", "{\"prompt\": \"a\", \"sed\": 3}\n"),
        ("same id", "{\"prompt\": \"a\", \"id\": 1}\n\n{\"prompt\": \"b\", \"id\": 1}\n"),
        ("odd id", "{\"prompt\": \"a\", \"id\": [1]}\n"),
    ] {
        place.file("prompts.jsonl", prompts);
        let ran = place.run(RUN);
        assert_eq!(ran.code, Some(1));
        told.insert(name, ran.stderr);
    }
    place.file("prompts.jsonl", &prompts(2));
    for (name, results) in [
        ("foreign results", "a,b\n1,2\n"),
        ("foreign line", "my notes"),
        ("other model", "{\"line\": 1, \"model\": \"embedded\"}\n"),
    ] {
        place.file("results.jsonl", results);
        let ran = place.run(RUN);
        assert_eq!(ran.code, Some(1));
        assert_eq!(place.read("results.jsonl"), results, "nothing is overwritten");
        told.insert(name, ran.stderr);
    }
    let mut told: Vec<_> = told.into_iter().map(|(name, line)| format!("{name}: {line}")).collect();
    told.sort();
    insta::assert_snapshot!(told.concat(), @r#"
    foreign line: error: results.jsonl holds no result of `lldm run`: choose another --output
    foreign results: error: results.jsonl line 1 is no result of `lldm run`: choose another --output
    no json: error: prompts.jsonl line 2: expected value at line 1 column 1; a line is {"prompt": ..., "id"?: ..., "seed"?: ...}
    odd id: error: prompts.jsonl line 1: an id is a text or a number
    other model: error: results.jsonl holds results of model `embedded`, not of `toy`: choose another --output
    same id: error: prompts.jsonl line 3: id 1 was given to an earlier line, too
    unknown key: error: prompts.jsonl line 1: unknown field `sed`, expected one of `prompt`, `id`, `seed` at line 1 column 21; a line is {"prompt": ..., "id"?: ..., "seed"?: ...}
    "#);
}
