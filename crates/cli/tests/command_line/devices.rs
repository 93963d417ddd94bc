//! `--device`: the operations that a GPU runs, on the CPU, and what is said where there is no GPU.

use serde_json::Value;

use crate::program::Place;

#[test]
fn a_model_writes_by_candles_operations() {
    let place = Place::new();
    let run = |device: &str| -> Value {
        let args =
            ["run", "--json", "--seed", "7", "--temperature", "0", "-n", "12", "--device", device, "The old man"];
        serde_json::from_str(&place.good(&args)).unwrap()
    };
    let candle = run("candle-cpu");
    assert!(!candle["text"].as_str().unwrap().is_empty());
    assert_eq!(candle, run("candle-cpu"));
    assert_eq!(candle["usage"]["nfe"], run("cpu")["usage"]["nfe"]);
}

/// A bound by both: their products differ by what bf16 rounds off.
#[test]
fn a_text_is_as_probable_by_either() {
    let place = Place::new();
    let score = |device: &str| -> f64 {
        let args = ["score", "--json", "--text", "He went home.", "--samples", "4"];
        let ran = place.run_with(&[("LLDM_DEVICE", device)], &args);
        let value: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        value["nats"].as_f64().unwrap()
    };
    let [candle, ours] = ["candle-cpu", "cpu"].map(score);
    assert!(candle != ours && (candle - ours).abs() < 0.01 * ours, "{candle} and {ours}");
}

#[test]
fn a_pass_is_measured_on_the_device_that_is_named() {
    let place = Place::new();
    let args = ["bench", "-m", "embedded", "--device", "candle-cpu", "--json", "--passes", "2", "--canvas", "16"];
    let value: Value = serde_json::from_str(&place.good(&args)).unwrap();
    assert_eq!(value["device"], "candle-cpu");
    assert!(value["ms_per_nfe"].as_f64().unwrap() > 0.0);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_not_there_is_named() {
    let place = Place::new();
    for (args, message) in [
        (&["run", "-m", "toy", "--device", "gpu"][..], "`gpu` is no device: take `cpu`, `candle-cpu`, or `cuda:N`"),
        (&["run", "-m", "toy", "--device", "cuda"], "cannot compute on cuda:0: this build knows no GPU"),
        (&["score", "--text", "a", "--device", "cuda:1"], "cannot compute on cuda:1: this build knows no GPU"),
        (&["bench", "-m", "embedded", "--device", "cuda:1"], "cannot compute on cuda:1: this build knows no GPU"),
    ] {
        let ran = place.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(message) && ran.stderr.lines().count() == 1, "{args:?}: {}", ran.stderr);
    }
}
