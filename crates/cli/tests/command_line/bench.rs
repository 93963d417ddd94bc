//! `lldm bench --against` with the toy model against itself: its texts are the same everywhere, its speed is not.

use serde_json::Value;

use crate::program::{Place, Ran};

const SHORT: &[&str] =
    &["bench", "toy", "--against", "toy", "--steps", "2,12", "--thresholds", "0.5", "--texts", "5", "--rounds", "2"];

/// A place with text in the toy's words.
fn place() -> Place {
    let mut lines = String::new();
    for subject in ["the captain", "a small boat", "every word", "the old spaceship", "noise"] {
        for verb in ["crossed", "counted", "waited for", "landed on", "fell on"] {
            for object in ["the lake", "the stars", "a sentence", "the far side of the moon", "every ocean"] {
                lines.push_str(&format!("{subject} {verb} {object}\n"));
            }
        }
    }
    let place = Place::new();
    place.file("texts/words.txt", &lines);
    place
}

/// The table with single spaces and without what depends on machine and day.
fn steady(stdout: &str) -> String {
    let single: Vec<_> = stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    single.join("\n")
}

fn good(place: &Place, args: &[&str]) -> Ran {
    let ran = place.run(&[SHORT, args].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran
}

#[test]
fn settings_stand_beside_the_twin_and_human_text() {
    let ran = good(&place(), &["--judge", "texts"]);
    insta::with_settings!({ filters => vec![
        (r"\d+ \d+ to \d+ \d+\.\d\dx", "[SPEED]"),
        (r"\d{4}-\d\d-\d\d, .*", "[WHEN AND WHERE]"),
    ]}, {
        insta::assert_snapshot!(steady(&ran.stdout));
    });
    assert_eq!(ran.stderr, "training the n-gram judge on texts\nround 1\nround 2\n");
}

#[test]
fn json_has_every_figure() {
    let place = place();
    let ran = good(&place, &["--judge", "texts/words.txt", "--svg", "curve.svg", "--json", "--prompt", "the old"]);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&value["model"], &value["twin"], &value["rounds"]), (&"toy".into(), &"toy".into(), &2.into()));
    assert!(value["machine"]["threads"].as_u64().unwrap() >= 1 && value["date"].as_str().unwrap().len() == 10);
    assert_eq!((&value["judge"]["order"], &value["judge"]["text"]), (&5.into(), &"texts/words.txt".into()));
    assert!(value["human"].is_null(), "human text without the prompt is no level for text behind it");
    let rows = value["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["relative_speed"], 1.0);
    assert_eq!(rows[0]["sampler"]["parameters"]["steps"], 32);
    let number = |row: usize, name: &str| rows[row][name].as_f64().unwrap();
    assert!(number(1, "nfe") < number(2, "nfe") && number(1, "tokens_per_nfe") > number(2, "tokens_per_nfe"));
    for row in rows {
        let speed = |name: &str| row["tokens_per_second"][name].as_f64().unwrap();
        assert!(0.0 < speed("least") && speed("least") <= speed("median") && speed("median") <= speed("most"));
        assert!(row["quality"]["judge_perplexity"].as_f64().unwrap() > 1.0);
        assert_eq!(row["quality"]["diversity"]["texts"], 5);
    }
    let svg = place.read("curve.svg");
    roxmltree::Document::parse(&svg).unwrap();
    for part in ["the twin (low_confidence steps=32)", "threshold, by its value", "threads, kernel", "0.5"] {
        assert!(svg.contains(part), "{part}");
    }
    let files = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(files, 2, "the texts and the picture, nothing temporary");
}

#[test]
fn without_text_for_a_judge_the_column_is_left_out() {
    let place = place();
    let ran = good(&place, &[]);
    assert!(ran.stdout.contains("TOKENS/NFE") && !ran.stdout.contains("PERPLEXITY"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("human"), "{}", ran.stdout);
    let told = "no perplexity: the corpora of the recipe `default` are not here (LLDM_DATA names their folder); --judge \
                names other text";
    assert_eq!(ran.stderr.lines().next(), Some(told));
    let value: Value = serde_json::from_str(&good(&place, &["--json"]).stdout).unwrap();
    assert!(value["judge"].is_null() && value["rows"][0]["quality"]["judge_perplexity"].is_null());
}

/// The rates are the machine's; that they are told is not.
#[test]
fn the_products_are_measured_beside_peak_and_peer() {
    let place = Place::new();
    let only = "--only=gemm_bf16,gemm_q4_k";
    let args = ["bench", "kernels", "--threads", "1", "--seconds", "0.001", only];
    let value: Value = serde_json::from_str(&place.good(&[&args[..], &["--json"]].concat())).unwrap();
    let rows = value["rows"].as_array().unwrap();
    assert!(rows.len() >= 10);
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("gflops") > 0.0 && number("peak_gflops") > 0.0 && number("candle_gflops") > 0.0, "{row}");
        assert!((number("peak_ratio") - number("gflops") / number("peak_gflops")).abs() < 1e-9);
        assert!((number("candle_ratio") - number("gflops") / number("candle_gflops")).abs() < 1e-9);
        assert_eq!(row["threads"], 1);
        let kernel = row["kernel"].as_str().unwrap();
        assert!(kernel == "gemm_q4_k" || kernel == "gemm_bf16", "{row}");
    }
    assert!(value["peaks"].as_array().unwrap().iter().all(|peak| peak["gops"].as_f64().unwrap() > 0.0));
    let refused = place.run(&["bench", "kernels", "--threads", "0"]);
    assert_eq!((refused.code, refused.stderr.contains("--threads and --seconds must be above 0")), (Some(1), true));
    let refused = place.run(&["bench", "kernels", "--only", "gemm_q9"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("there is no kernel `gemm_q9`; names begin with gemm_bf16"), "{}", refused.stderr);
    assert!(place.good(&["bench", "kernels", "--help"]).contains("Usage: lldm bench kernels"));
}

#[test]
fn a_pass_is_measured_part_by_part() {
    let place = Place::new();
    let config = r#"{"model_type": "lldm_trunk", "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 128, "max_position_embeddings": 96, "attention": "full",
        "mask_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}"#;
    place.file("config.json", config);
    for more in [&["--quant", "q8_0"][..], &["--prefix", "10", "--canvas", "40"]] {
        let args = ["bench", "--random-weights", "config.json", "--passes", "3", "--steps", "4,8", "--json"];
        let value: Value = serde_json::from_str(&place.good(&[&args[..], more].concat())).unwrap();
        let canvas = if more.contains(&"--canvas") { 40 } else { 96 };
        assert_eq!(
            (value["canvas"].as_u64(), value["prefix"].as_u64()),
            (Some(canvas), Some(if canvas == 40 { 10 } else { 0 }))
        );
        let number = |value: &Value| value.as_f64().unwrap();
        let parts = value["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 8);
        assert!(parts.iter().all(|part| number(&part["ms"]) > 0.0), "{value}");
        let whole = number(&value["ms_per_nfe"]);
        let sum: f64 = parts.iter().map(|part| number(&part["ms"])).sum();
        assert!((sum + number(&value["rest_ms"]) - whole).abs() < 1e-9);
        let steps = &value["tokens_per_second"].as_array().unwrap()[1];
        assert_eq!(steps["steps"], 8);
        assert!(
            (number(&steps["tokens_per_second"]) - canvas as f64 / (8e-3 * whole)).abs()
                < 1e-6 * whole.recip().max(1e6)
        );
    }
    assert!(place.good(&["bench", "-m", "toy", "--passes", "2"]).contains("tokens/s under its own settings"));
    let long = place.run(&["bench", "--random-weights", "config.json", "--prefix", "90", "--canvas", "10"]);
    assert_eq!(long.code, Some(1));
    assert!(
        long.stderr.contains("a canvas of 10 cells behind 90 tokens does not fit: the model sees at most 96"),
        "{}",
        long.stderr
    );
}

/// The times are the machine's; that they are told is not.
#[test]
fn constraints_are_measured_by_kind_over_both_vocabularies() {
    let place = Place::new();
    let tiny = ["bench", "constraints", "--cells", "12", "--vocabulary", "3000", "--rounds", "1", "--states", "20"];
    let only = "--only=choice,keywords_2,counted,json_large";
    let ran = place.run(&[&tiny[..], &[only, "--json"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("measuring keywords_2 over 3000 synthetic tokens\n"), "{}", ran.stderr);
    let value: Value = serde_json::from_str(&ran.stdout).unwrap();
    let places = value["places"].as_array().unwrap();
    assert_eq!(places.len(), 2);
    for (place, name) in places.iter().zip(["3000 synthetic tokens", "the 4096 tokens of embedded"]) {
        assert_eq!((place["place"].as_str(), place["cells"].as_u64()), (Some(name), Some(12)));
        let step = place["step_ms"].as_f64();
        assert_eq!(step.is_some(), name.ends_with("embedded"));
        let rows = place["rows"].as_array().unwrap();
        let kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["choice", "keywords_2", "json_large", "counted_20"]);
        for row in rows {
            let number = |name: &str| row[name].as_f64().unwrap();
            let parts = ["messages_ms", "draw_ms", "marginals_ms", "entropies_ms"].map(number);
            assert!((number("chain_ms") - parts.iter().sum::<f64>()).abs() < 1e-9 && parts[0] > 0.0);
            for part in ["bytes_ms", "lift_ms", "cache_ms", "plain_pass_ms", "class_pass_ms", "most_probable_ms"] {
                assert!(number(part) > 0.0, "{part} of {row}");
            }
            assert!(number("added_ms") >= number("constrained_ms") && number("constrained_ms") > 0.0);
            assert!(step.is_none_or(|step| (number("of_step") - number("added_ms") / step).abs() < 1e-9));
        }
        assert_eq!(rows[3]["states"], 20);
    }
    assert!(places[1]["rows"][1]["of_step"].as_f64().unwrap() > 0.0);
}

#[test]
fn constraints_are_told_as_a_table() {
    let place = Place::new();
    let args = ["bench", "constraints", "--vocabulary", "0", "--rounds", "1", "--cells", "12"];
    let out = place.good(&[&args[..], &["--only", "choice,length"]].concat());
    assert!(out.starts_with("KIND    BYTES  STATES  CLASSES  COMPILE  LIFT"), "{out}");
    assert!(out.contains("\nchoice  13 ") && out.contains("\nlength  201 "), "{out}");
    assert!(out.contains("tokens of embedded, 12 cells; a step without a constraint takes"), "{out}");
    // The toy's words spell none of these, and its sentences are too short for sixty words.
    let out = place.good(&[&args[..], &["-m", "toy", "--only", "choice,length"]].concat());
    assert!(out.contains("; no text is possible of choice, length\n"), "{out}");
    let refused = |more: &[&str]| {
        let ran = place.run(&[&["bench", "constraints"], more].concat());
        assert_eq!(ran.code, Some(1));
        ran.stderr
    };
    assert!(refused(&["--rounds", "0"]).contains("--rounds, --cells and --states must be above 0"));
    assert!(refused(&["--only", "keywords_9"]).contains("there is no kind `keywords_9`; names begin with choice, "));
    assert!(refused(&["--only", "counted_7"]).contains("--only and --states leave nothing"));
    insta::assert_snapshot!(place.good(&["bench", "constraints", "--help"]));
}
