//! From `lldm train` to `run`, `score` and `show`, on a tiny model of the built-in grammar that is trained once.

use std::sync::OnceLock;

use serde_json::Value;

use crate::program::Place;

/// A small network on few sentences: seconds.
pub(crate) const TINY: &[&str] = &[
    "data.load.grammar_sentences=2000",
    "tokenizer.vocabulary=320",
    "model.hidden_size=32",
    "model.layers=2",
    "model.heads=2",
    "model.intermediate_size=64",
    "train.batch=16",
    "train.evaluate_rows=16",
];

/// The place that holds the trained model in `tiny/model`.
pub(crate) fn tiny() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Place::new();
        let steps = ["train.steps=120", "train.evaluate_every=60", "train.checkpoint_every=60", "output=tiny"];
        let ran = place.run(&[&["train", "smoke"], TINY, &steps].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.starts_with("tiny/model: ") && ran.stdout.ends_with(" bits/byte (bound)\n"), "{ran:?}");
        assert!(ran.stderr.contains("step 60/120: loss ") && ran.stderr.contains("bits/byte"), "{}", ran.stderr);
        place
    })
}

#[test]
fn a_trained_model_writes_and_is_measured() {
    let place = tiny();
    let recipe = place.read("tiny/config.toml");
    assert!(recipe.contains("hidden_size = 32") && recipe.contains("steps = 120"), "{recipe}");

    let text = place.good(&["run", "-m", "tiny/model", "--seed", "1", "The"]);
    assert!(!text.trim().is_empty());
    let json: Value =
        serde_json::from_str(&place.good(&["run", "-m", "tiny/model", "--seed", "1", "--json", "The"])).unwrap();
    assert_eq!(json["text"].as_str().unwrap().trim_start(), text.trim_end_matches('\n'));
    assert_eq!(json["sampler"]["max_tokens"], 24);

    let score = |text: &str| {
        let value: Value =
            serde_json::from_str(&place.good(&["score", "-m", "tiny/model", "--json", "--text", text])).unwrap();
        value["bits_per_byte"].as_f64().unwrap()
    };
    assert!(
        score("The wolf sees the boat.") < score("Qxz,jv kk?w zzzy pjq##"),
        "a sentence is more probable than noise"
    );

    let shown = place.good(&["show", "tiny/model", "--json", "--resolved"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["family"], &shown["config"]["hidden_size"]), (&"lldm_trunk".into(), &32.into()));
    assert!(shown["files"]["model.safetensors"].as_u64().unwrap() > 1000);
    assert_eq!(shown["settings"]["max_tokens"]["origin"], "checkpoint");
    assert!(place.good(&["show", "tiny/model"]).contains("num_hidden_layers 2"));
}

#[test]
fn the_number_of_threads_does_not_change_the_text() {
    let place = tiny();
    for seed in ["1", "2", "3"] {
        let args = ["run", "-m", "tiny/model", "--seed", seed, "--json", "The"];
        let one = place.run_with(&[("RAYON_NUM_THREADS", "1")], &args);
        let two = place.run_with(&[("RAYON_NUM_THREADS", "2")], &args);
        assert_eq!(one.stdout, two.stdout, "{one:?}");
        assert_eq!(one.code, Some(0));
    }
}

#[test]
fn pieces_on_the_canvas_are_the_text() {
    let place = tiny();
    let stdout = place.good(&["run", "-m", "tiny/model", "--seed", "4", "--jsonl", "--canvas-length", "8", "The"]);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (result, frames) = lines.split_last().unwrap();
    let mut texts = serde_json::Map::new();
    let mut written = String::new();
    for frame in frames {
        texts.extend(frame["texts"].as_object().unwrap().clone());
        if frame["done"] == true {
            for cell in frame["cells"].as_array().unwrap() {
                let piece = texts[&cell["token"].to_string()].as_str().unwrap();
                written.push_str(piece);
            }
        }
    }
    let text = result["text"].as_str().unwrap();
    assert!(!text.is_empty() && written.starts_with(text), "{written} / {text}");
}

#[test]
fn a_prompt_longer_than_the_context_is_told() {
    let ran = tiny().run(&["run", "-m", "tiny/model", &"The boat sleeps. ".repeat(30)]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    let line = ran.stderr.trim_end();
    assert!(line.starts_with("error: the prompt has ") && line.ends_with("ask for fewer tokens"), "{line}");
    assert!(line.contains("the model sees at most 32") && !line.contains('\n'), "{line}");
    let asked = tiny().run(&["run", "-m", "tiny/model", "-n", "100", "The"]);
    assert!(asked.stderr.contains("and 100 more are asked for"), "{asked:?}");
    let score = tiny().run(&["score", "-m", "tiny/model", "--text", &"The boat sleeps. ".repeat(30)]);
    assert_eq!(score.code, Some(1));
    assert!(score.stderr.contains("sees at most 32: score a shorter text"), "{score:?}");
}

#[test]
fn prompts_that_leave_different_room_do_not_disturb_each_other() {
    let place = tiny();
    let prompts =
        ["The", "The kind quiet fox that many mice see", "", "Every small horse that the old wolf likes sleeps near"];
    let lines: String = prompts.iter().map(|prompt| format!("{{\"prompt\": \"{prompt}\"}}\n")).collect();
    place.file("prompts.jsonl", &lines);
    let run =
        |batch| place.good(&["run", "-m", "tiny/model", "--seed", "3", "--input", "prompts.jsonl", "--batch", batch]);
    let alone = run("1");
    let room = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        value["sampler"]["max_tokens"].as_u64().unwrap()
    };
    let rooms: std::collections::HashSet<_> = alone.lines().map(room).collect();
    assert!(rooms.len() > 1, "the prompts leave different room: {rooms:?}");
    assert!(alone == run("2") && alone == run("4"));
}
