//! Whatever is wrong: one line that says what, and what to do; exit code 1; never a panic.

use std::fs;

use crate::program::{Place, Ran};
use crate::trained::tiny;

/// All mistakes of a test in one snapshot.
#[derive(Default)]
struct Told(String);

impl Told {
    fn add(&mut self, args: &[&str], ran: &Ran) {
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && !ran.stderr.contains("panic"), "{}", ran.stderr);
        self.0.push_str(&format!("$ lldm {}\n{}", args.join(" "), ran.stderr));
    }

    fn run(&mut self, place: &Place, args: &[&str]) {
        self.add(args, &place.run(args));
    }
}

#[test]
fn flags() {
    let place = Place::new();
    let mut told = Told::default();
    for args in [
        &["run", "-m", "toy", "--sampler", "low_confidense"][..],
        &["run", "-m", "toy", "--sampler", "x"],
        &["run", "-m", "toy", "--set", "stepz=3"],
        &["run", "-m", "toy", "--set", "steps=many"],
        &["run", "-m", "toy", "--set", "steps"],
        &["run", "-m", "toy", "--steps", "0"],
        &["run", "-m", "toy", "--threshold", "0.5"],
        &["run", "-m", "toy", "--max-tokenz", "3"],
        &["run", "-m", "toy", "-n", "0"],
        &["run", "-m", "toy", "-n", "many"],
        &["run", "-m", "toy", "--temperature", "-1"],
        &["run", "-m", "toy", "--end-rule", "right"],
        &["run", "-m", "toy", "--json", "--jsonl"],
        &["run", "-m", "toy", "--fps", "0"],
        &["run", "-m", "toy", "--output", "results.jsonl"],
        &["run", "-m", "toy", "--trace", "no/folder/run.jsonl"],
        &["rum"],
        &["samplers", "treshold"],
        &["completions", "fishy"],
        &["man", "rum"],
        &["score", "-m", "toy", "--text", "", "--no-end"],
        &["score", "-m", "toy", "--text", "a", "--samples", "0"],
    ] {
        told.run(&place, args);
    }
    insta::assert_snapshot!(told.0);
}

#[test]
fn benches() {
    let place = Place::new();
    let mut told = Told::default();
    place.file("other.txt", "words that the toy has not\n");
    for args in [
        &["bench", "no/model"][..],
        &["bench", "toy", "--quant", "q4_k"],
        &["bench", "toy", "--against", "toy", "--quant", "q4_k"],
        &["bench", "toy", "--svg", "a.svg"],
        &["bench", "toy", "--judge", "grammar", "--texts", "3"],
        &["bench", "toy", "--seed", "3"],
        &["bench", "kernel", "--against", "toy"],
        &["bench", "toy", "--against", "no/model"],
        &["bench", "toy", "--against", "embedded"],
        &["bench", "toy", "--against", "toy", "--steps", "4,0"],
        &["bench", "toy", "--against", "toy", "--steps", "many"],
        &["bench", "toy", "--against", "toy", "--thresholds", "0.5,1.5"],
        &["bench", "toy", "--against", "toy", "--thresholds", "-1"],
        &["bench", "toy", "--against", "toy", "--texts", "0"],
        &["bench", "toy", "--against", "toy", "--rounds", "0"],
        &["bench", "toy", "--against", "toy", "-n", "0"],
        &["bench", "toy", "--against", "toy", "--judge", "gramar"],
        &["bench", "toy", "--against", "toy", "--judge", "no.txt"],
        &["bench", "toy", "--against", "toy", "--judge", "other.txt"],
        &["bench", "toy", "--against", "toy", "--svg", "no/folder/a.svg"],
        &["bench", "toy", "--against", "toy", "--svg", "a.svg"],
    ] {
        told.run(&place, args);
    }
    insta::assert_snapshot!(told.0);
}

#[test]
fn missing_files() {
    let place = Place::new();
    let mut told = Told::default();
    place.file("notes.txt", "a\n");
    for args in [
        &["run", "-m", "no/model", "a"][..],
        &["run", "-m", "notes.txt", "a"],
        &["run", "-m", "config", "a"],
        &["show", "no/model"],
        &["score", "-m", "no/model", "--text", "a"],
        &["run", "-m", "toy", "--input", "no.jsonl"],
        &["trace", "no.jsonl"],
        &["trace", "notes.txt"],
        &["train", "no.toml"],
        &["train", "smokes"],
        &["recipes", "cp", "smokes"],
        &["data", "get", "gramar"],
    ] {
        fs::create_dir_all(place.path().join("config")).unwrap();
        told.run(&place, args);
    }
    insta::assert_snapshot!(told.0);
}

#[test]
fn recipes() {
    let place = Place::new();
    let mut told = Told::default();
    place.file("broken.toml", "name = \"a\"\noutput = \n");
    place.file("typo.toml", "nam = \"a\"\n");
    for args in [
        &["train", "broken.toml"][..],
        &["train", "typo.toml"],
        &["train", "smoke", "train.stepz=3"],
        &["train", "smoke", "train.steps=0"],
        &["train", "smoke", "train.steps=many"],
        &["train", "smoke", "train"],
        &["train", "smoke", "objective.name=masqued"],
    ] {
        told.run(&place, args);
    }
    insta::assert_snapshot!(told.0);
}

#[test]
fn settings_files_and_variables() {
    let mut told = Told::default();
    let args = &["run", "-m", "toy", "a"];
    for contents in [
        "temperature = \n",
        "max_tokens = 5\ntemprature = 1\n",
        "max_tokens = \"many\"\n",
        "sampler = \"low_confidense\"\n",
        "sampler = \"threshold\"\n[sampler_parameters]\nsteps = 3\n",
    ] {
        let place = Place::new();
        place.file("lldm.toml", contents);
        told.run(&place, args);
        // The same file does for the user.
        fs::remove_file(place.path().join("lldm.toml")).unwrap();
        place.file("config/lldm/config.toml", contents);
        let ran = place.run(args);
        assert!(ran.code == Some(1) && ran.stderr.starts_with("error: [FOLDER]/config/lldm/config.toml"), "{ran:?}");
    }
    for variable in [
        ("LLDM_MAX_TOKENS", "many"),
        ("LLDM_SAMPLER", "low_confidense"),
        ("LLDM_END_RULE", "right"),
        ("LLDM_KERNEL", "fast"),
    ] {
        told.add(&[variable.0], &Place::new().run_with(&[variable], args));
    }
    insta::assert_snapshot!(told.0);
}

#[test]
fn broken_models() {
    let place = Place::new();
    let mut told = Told::default();
    let source = tiny().path().join("tiny/model");
    let copy = |name: &str| {
        let folder = place.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in fs::read_dir(&source).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        folder
    };
    let change = |name: &str, file: &str, change: &dyn Fn(String) -> String| {
        let path = copy(name).join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, change(text)).unwrap();
    };

    let weights = copy("truncated").join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(copy("empty").join("model.safetensors"), b"").unwrap();
    fs::write(copy("noise").join("model.safetensors"), [0xff; 64]).unwrap();
    fs::remove_file(copy("without").join("tokenizer.json")).unwrap();
    change("other-tokenizer", "tokenizer.json", &without_last_token);
    change("other-vocabulary", "config.json", &|text| text.replace("\"vocab_size\": 320", "\"vocab_size\": 319"));
    change("no-tokenizer", "tokenizer.json", &|_| "{}".to_string());
    change("other-sizes", "config.json", &|text| text.replace("\"hidden_size\": 32", "\"hidden_size\": 64"));
    change("no-family", "config.json", &|text| text.replace("lldm_trunk", "gpt9"));
    change("no-config", "config.json", &|text| text[..text.len() / 2].to_string());
    change("no-sampler", "generation_config.json", &|text| text.replacen('{', "{\"sampler\": \"low_confidense\",", 1));
    for name in [
        "truncated",
        "empty",
        "noise",
        "without",
        "other-tokenizer",
        "no-tokenizer",
        "other-vocabulary",
        "other-sizes",
        "no-family",
        "no-config",
        "no-sampler",
    ] {
        told.run(&place, &["run", "-m", name, "a"]);
    }
    insta::assert_snapshot!(told.0);
}

/// The tokenizer with its last merge undone: it is whole, but one token smaller.
fn without_last_token(json: String) -> String {
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let merge = json["model"]["merges"].as_array_mut().unwrap().pop().unwrap();
    let token: String = merge.as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
    json["model"]["vocab"].as_object_mut().unwrap().remove(&token).unwrap();
    json.to_string()
}
