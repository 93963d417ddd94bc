//! `lldm convert`, and what the other commands make of its models.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::Place;
use crate::trained::tiny;

/// The folder of the trained model.
fn source() -> String {
    tiny().path().join("tiny/model").to_str().unwrap().to_string()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_packed_model_writes_what_its_source_writes() {
    let (place, source) = (Place::new(), source());
    let told = place.good(&["convert", &source, "packed", "--pack"]);
    assert!(told.contains("model.layers.*.mlp.gate_proj") && told.contains("bf16, packed"), "{told}");
    assert!(told.contains("packed: ") && told.contains(", packed for the kernel "), "{told}");
    let run = |model: &str, seed: &str| place.good(&["run", "-m", model, "--seed", seed, "The"]);
    for seed in ["1", "2", "3"] {
        let text = run(&source, seed);
        assert!(!text.trim().is_empty());
        assert_eq!(run("packed", seed), text);
    }
    place.good(&["convert", "packed", "plain", "--quant", "bf16"]);
    assert_eq!(run("plain", "1"), run(&source, "1"));
    let score =
        |model: &str| parse(&place.good(&["score", "-m", model, "--json", "--text", "The wolf sees the boat."]));
    assert_eq!(score("packed")["nats"], score(&source)["nats"]);
}

#[test]
fn quantised_models_run_are_scored_and_shown() {
    let (place, source) = (Place::new(), source());
    let report = parse(&place.good(&["convert", &source, "q8", "--quant", "q8_0", "--json"]));
    assert_eq!((&report["model"], &report["fallbacks"]), (&json!("q8"), &json!([])));
    let part = |kind: &str| report["parts"].as_array().unwrap().iter().find(|part| part["kind"] == kind).unwrap();
    let down = part("model.layers.*.mlp.down_proj");
    assert_eq!((&down["format"], &down["packed"], &down["tensors"]), (&json!("q8_0"), &json!(false), &json!(2)));
    let error = down["relative_rms_error"].as_f64().unwrap();
    assert!(error > 0.001 && error < 0.01, "{error}");
    assert_eq!(part("model.norm")["relative_rms_error"], 0.0);
    assert_eq!(
        report["size_bytes"].as_u64(),
        Some(place.path().join("q8/model.safetensors").metadata().unwrap().len())
    );
    assert!(report["size_bytes"].as_u64() < report["source_bytes"].as_u64());

    // Blocks of 256 do not fit a network of width 32, which is said.
    let ran = place.run(&["convert", &source, "q4", "--quant", "q4_k", "--pack"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.stderr,
        "note: the rows of 15 tensors are not whole blocks of q4_k, so they became q8_0; the first is \
         `model.embed_tokens.weight`\n"
    );
    place.good(&["convert", "q8", "q8-packed", "--pack"]);
    let weights = |model: &str| fs::read(place.path().join(model).join("model.safetensors")).unwrap();
    assert!(weights("q4") == weights("q8-packed"), "both are q8_0, packed");

    let nats = |model: &str| {
        let args = ["score", "-m", model, "--json", "--text", "The wolf sees the boat.", "--samples", "8"];
        parse(&place.good(&args))["nats"].as_f64().unwrap()
    };
    let (exact, found) = (nats(&source), nats("q8"));
    assert!(found != exact && (found / exact - 1.0).abs() < 0.02, "{found} for {exact}");
    assert_eq!(nats("q8-packed"), found);
    let text = place.good(&["run", "-m", "q8", "--seed", "1", "The"]);
    assert!(!text.trim().is_empty());
    assert_eq!(place.good(&["run", "-m", "q8-packed", "--seed", "1", "The"]), text);

    let shown = parse(&place.good(&["show", "q8-packed", "--json"]));
    let storage = &shown["storage"][0];
    assert_eq!(
        (&storage["format"], &storage["mapped"], &storage["tensors"]),
        (&json!("q8_0"), &json!(true), &json!(15))
    );
    assert!(shown["load_s"].as_f64().unwrap() > 0.0);
    assert_eq!(shown["parameters"], parse(&place.good(&["show", &source, "--json"]))["parameters"]);
    let shown = place.good(&["show", "q8"]);
    assert!(shown.contains(" in q8_0, ") && !shown.contains("mapped") && shown.contains("\nloaded "), "{shown}");
    assert!(place.good(&["show", "q8-packed"]).contains(", mapped from the file"));
    let bench = ["bench", "q8", "--against", "q8-packed", "--texts", "2", "--rounds", "1", "--steps", "4", "--json"];
    assert!(parse(&place.good(&bench)).is_object());
}

#[test]
fn a_model_packed_for_another_kernel_is_packed_again() {
    let (place, source) = (Place::new(), source());
    let convert = ["convert", &source, "portable", "--pack", "--json"];
    let told = parse(&place.run_with(&[("LLDM_KERNEL", "portable")], &convert).stdout);
    assert_eq!(told["kernel"], "portable");
    let own = parse(&place.good(&["convert", &source, "own", "--pack", "--json"]));
    let own = own["kernel"].as_str().unwrap();
    let ran = place.run(&["run", "-m", "portable", "--seed", "1", "The"]);
    if own == "portable" {
        assert_eq!(ran.code, Some(0), "{ran:?}");
    } else {
        let expected = format!(
            "error: portable/model.safetensors: is packed for the kernel `portable`, but `{own}` runs here: pack it again \
             with `lldm convert FOLDER NEW_FOLDER --pack`\n"
        );
        assert_eq!((ran.code, ran.stderr), (Some(1), expected));
    }
    place.good(&["convert", "portable", "again", "--pack"]);
    let weights = |model: &str| fs::read(place.path().join(model).join("model.safetensors")).unwrap();
    assert!(weights("again") == weights("own"), "the bytes of a model packed from its source");
}

#[test]
fn a_conversion_that_cannot_be_is_told_in_a_line() {
    let (place, source) = (Place::new(), source());
    place.good(&["convert", &source, "there", "--pack"]);
    place.good(&["convert", &source, "broken", "--pack"]);
    let weights = place.path().join("broken/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    place.file("notes/a.txt", "a");
    for (args, expected) in [
        (
            &["convert", "there", "new"][..],
            "nothing is asked for: say what the weights become with --quant, --pack, or both",
        ),
        (
            &["convert", "there", "there", "--pack"],
            "there: is the model that is to be converted: name another folder for the new one",
        ),
        (
            &["convert", &source, "there", "--pack"],
            "there: is there already: name another folder, or replace it with --force",
        ),
        (
            &["convert", &source, "notes", "--pack", "--force"],
            "notes: is no model folder, so that it is not replaced: name another folder",
        ),
        (&["convert", "no/model", "new", "--pack"], "there is no model `no/model`: "),
        (&["convert", "toy", "new", "--pack"], "there is no model `toy`: it is a table without weights"),
        (&["convert", "broken", "new", "--pack"], "broken/model.safetensors: not a whole safetensors file"),
        (&["run", "-m", "broken", "a"], "broken/model.safetensors: not a whole safetensors file"),
        (&["convert", &source, "no/folder/new", "--pack"], "cannot write no/folder/new: "),
        (
            &["convert", &source, "new", "--quant", "q3_k"],
            "invalid value 'q3_k' for '--quant <FORMAT>' [possible values: q4_0, ",
        ),
    ] {
        let ran = place.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(ran.stderr.starts_with(&format!("error: {expected}")), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    assert!(!place.path().join("new").exists());
    place.good(&["convert", &source, "there", "--quant", "q8_0", "--force"]);
    assert!(place.good(&["show", "there"]).contains(" in q8_0, "));
    let mut left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["broken", "notes", "there"]);
}

/// A model of 68 MB: its memory stays near the file's size when it is packed on loading, and far below where it is mapped.
#[test]
#[cfg(target_os = "linux")]
fn loading_takes_no_more_memory_than_the_file() {
    let place = Place::new();
    fs::create_dir(place.path().join("large")).unwrap();
    let file_bytes = large(&place.path().join("large"));
    let peak = |args: &[&str]| parse(&place.good(args))["peak_memory_bytes"].as_f64().unwrap();
    // The program itself, its tokenizer, and what two threads need.
    let base = peak(&["show", &source(), "--json"]);
    let share = |peak: f64| (peak - base) / file_bytes;
    let plain = share(peak(&["show", "large", "--json"]));
    assert!(plain > 0.9 && plain < 1.1, "{plain} of the file, {base} bytes before");
    for (name, args) in [("packed", &["--pack"][..]), ("q8", &["--quant", "q8_0", "--pack"])] {
        let converting = share(peak(&[&["convert", "large", name, "--json"], args].concat()));
        assert!(converting < 0.4, "{name}: converting takes {converting} of the file");
        let mapped = share(peak(&["show", name, "--json"]));
        assert!(mapped < 0.1, "{name}: {mapped} of the file");
    }
}

/// Writes a model of width 1024 whose weights are all alike, under the tokenizer of the tiny one.
#[cfg(target_os = "linux")]
fn large(folder: &Path) -> f64 {
    let source = source();
    let source = Path::new(&source);
    let mut config = parse(&fs::read_to_string(source.join("config.json")).unwrap());
    let (width, inner, heads, layers) = (1024, 4096, 8, 2);
    config["hidden_size"] = width.into();
    config["intermediate_size"] = inner.into();
    config["num_attention_heads"] = heads.into();
    config["num_hidden_layers"] = layers.into();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::copy(source.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_string(), vec![config["vocab_size"].as_u64().unwrap() as usize, width]),
        ("model.norm.weight".to_string(), vec![width]),
    ];
    for layer in 0..layers {
        let mut add =
            |name: &str, shape: &[usize]| shapes.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        for name in ["q", "k", "v", "o"] {
            add(&format!("self_attn.{name}_proj"), &[width, width]);
        }
        for name in ["q_norm", "k_norm"] {
            add(&format!("self_attn.{name}"), &[width / heads]);
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            add(name, &[width]);
        }
        for name in ["gate", "up"] {
            add(&format!("mlp.{name}_proj"), &[inner, width]);
        }
        add("mlp.down_proj", &[width, inner]);
    }
    let mut header = serde_json::Map::new();
    let mut start = 0;
    for (name, shape) in shapes {
        let end = start + 2 * shape.iter().product::<usize>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
        start = end;
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + start, 0x3c);
    fs::write(folder.join("model.safetensors"), &file).unwrap();
    file.len() as f64
}
