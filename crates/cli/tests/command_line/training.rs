//! `lldm train`, killed and resumed.

use std::time::Duration;

use serde_json::Value;

use crate::program::Place;
use crate::trained::TINY;

fn arguments(output: &'static str) -> Vec<&'static str> {
    let course = ["train.steps=60", "train.evaluate_every=20", "train.checkpoint_every=5", "train.log_every=5", output];
    [&["train", "smoke"], TINY, &course].concat()
}

/// Every metric that is not a time.
fn losses(place: &Place, run: &str) -> Vec<Value> {
    let text = place.read(&format!("{run}/metrics.jsonl"));
    let lines = text.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("tokens_per_second");
        value
    });
    lines.collect()
}

#[test]
fn a_killed_training_ends_as_one_that_was_not() {
    let place = Place::new();
    place.good(&arguments("output=whole"));
    let mut child = place.command(&arguments("output=killed")).stderr(std::process::Stdio::null()).spawn().unwrap();
    while !place.path().join("killed/checkpoints/step-0000005").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the training ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path().join("killed/model").exists(), "it was killed in the middle");

    let again = place.run(&arguments("output=killed"));
    assert_eq!(again.code, Some(1));
    assert_eq!(
        again.stderr.lines().last(),
        Some("error: killed: there is a run already: go on with --resume, or choose another output")
    );
    let resumed = place.run(&[&arguments("output=killed")[..], &["--resume"]].concat());
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("going on from step "), "{}", resumed.stderr);
    let model = |run: &str| std::fs::read(place.path().join(run).join("model/model.safetensors")).unwrap();
    assert!(model("whole") == model("killed"), "the same bytes");
    assert_eq!(losses(&place, "whole"), losses(&place, "killed"));
    assert_eq!(losses(&place, "whole").len(), 12);
}

#[test]
fn there_must_be_something_to_resume() {
    let ran = Place::new().run(&[&arguments("output=nothing")[..], &["--resume"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.ends_with("there is no checkpoint to resume from: start without --resume\n"), "{ran:?}");
}
