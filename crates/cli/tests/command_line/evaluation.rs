//! `lldm eval` on the tiny model: report, card and curve.

use serde_json::Value;

use crate::trained::tiny;

#[test]
fn a_model_is_measured_and_gets_its_card() {
    let place = tiny();
    let args = [
        "eval",
        "tiny/model",
        "--recipe",
        "tiny/config.toml",
        "--twin",
        "tiny/model",
        "--output",
        "card",
        "--texts",
        "12",
        "--rows",
        "32",
        "--draws",
        "2",
        "--summary",
        "A tiny model.",
        "--command",
        "lldm train smoke",
    ];
    let stdout = place.good(&args);
    assert!(stdout.starts_with("card/README.md: ") && stdout.contains("(bound), 5-gram "), "{stdout}");

    let report: Value = serde_json::from_str(&place.read("card/report.json")).unwrap();
    let domains = report["domains"].as_array().unwrap();
    assert_eq!(domains.len(), 2);
    assert_eq!((&domains[0]["domain"], &domains[1]["domain"]), (&"grammar".into(), &"all".into()));
    let bits = |of: &str| domains[1][of]["value"].as_f64().unwrap();
    assert_eq!(bits("model"), bits("twin"));
    assert!(bits("model") > 0.5 && domains[1]["model"]["bound"] == true);
    assert!(domains[1]["judge"].as_f64().unwrap() > 0.5);
    assert_eq!(report["written"]["diversity"]["texts"], 12);
    assert_eq!(report["samples"].as_array().unwrap().len(), 12);
    let perplexity = |of: &str| report[of]["judge_perplexity"].as_f64().unwrap();
    assert!(perplexity("human") < perplexity("shuffled"), "{report}");
    assert!(report["trained_tokens"].as_u64().unwrap() > 1000);

    let card = place.read("card/README.md");
    for part in
        ["A tiny model.", "| grammar | ", "| this model | ", "lldm train smoke", "hidden_size = 32", "(curve.svg)"]
    {
        assert!(card.contains(part), "{part} is missing in {card}");
    }
    assert!(place.read("card/curve.svg").contains("autoregressive twin"));
}

#[test]
fn what_cannot_be_measured_is_told() {
    let toy = tiny().run(&["eval", "toy", "--recipe", "tiny/config.toml", "--output", "none"]);
    assert_eq!(toy.code, Some(1));
    assert!(toy.stderr.contains("toy is not a model of `lldm train`"), "{toy:?}");
    assert!(!tiny().path().join("none").exists());
}
