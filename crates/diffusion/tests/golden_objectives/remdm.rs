//! kuleshov-group/remdm: MDLM's ancestral sampler and the strategies of ReMDM, with its nucleus.

use std::collections::BTreeSet;

use lldm_diffusion::noise::Masked;
use lldm_diffusion::sampler::{BlockSampler, StepTimes};
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::{Compat, LogitTransform, Logits, Token};
use serde_json::{Value, json};

use crate::draws::{Draws, by_race};
use crate::file::Golden;
use crate::network::Network;
use crate::replay::{Predicted, Process, after, close, normalised};
use crate::{LeftOut, TOLERANCE, linspace};

#[test]
fn golden_objectives_remdm_samplers() {
    let golden = Golden::read("remdm");
    let (mut tested, mut left_out) = (0, BTreeSet::new());
    for (name, case) in golden.samplers() {
        if case["settings"]["dfm"].as_bool() == Some(true) {
            left_out.insert((name, LeftOut::FlowMatching));
            continue;
        }
        check(&golden, name, case);
        tested += 1;
    }
    golden.compare_left_out(&left_out, &[("dfm", LeftOut::FlowMatching)], tested);
}

/// Our sampler for the settings of a case.
fn ours(settings: &Value) -> (&'static str, Value) {
    let strategy = match settings["sampler"].as_str().expect("a sampler") {
        "mdlm" => return ("ancestral", json!({})),
        "forward-backward" => "forward_backward",
        "remdm-cap" => "cap",
        "remdm-rescale" => "rescale",
        "remdm-conf" => "conf",
        "remdm-loop" => "loop",
        other => panic!("this test does not know the sampler `{other}`"),
    };
    let mut ours = json!({ "strategy": strategy });
    for key in ["eta", "t_on", "t_off", "alpha_on"] {
        if let Some(value) = settings.get(key) {
            ours[key] = value.clone();
        }
    }
    ("remdm", ours)
}

fn check(golden: &Golden, name: &str, case: &Value) {
    let (network, length) = (Network::new(golden), golden.size("L"));
    let noise = Masked { schedule: Linear, mask: network.mask() };
    let settings = &case["settings"];
    let (sampler, ours) = ours(settings);
    let process = Process::new(sampler, ours, &noise, length);
    let transform = LogitTransform {
        top_p: settings["nucleus_p"].as_f64().unwrap_or(1.0),
        // The crossing token is dropped.
        compat: Compat::Reference,
        ..process.transform()
    };
    let (steps, eps) = (case["steps"].as_u64().expect("steps") as usize, settings["eps"].as_f64().expect("eps"));
    let times = linspace(1.0, eps, steps);
    let (probs, x) = (golden.output(name, "probs"), golden.output(name, "x"));
    let mut draws = Draws::new(golden, case);
    let mut canvases = vec![vec![network.mask(); length]; golden.size("B")];
    for step in 0..steps {
        let uniforms = draws.next();
        for (row, tokens) in canvases.iter_mut().enumerate() {
            let predict =
                |tokens: &[Token]| Predicted::new(&plain(&network, tokens), tokens, &transform, network.vocabulary);
            let predicted = predict(tokens);
            let mut run = process.begin(Compat::Reference);
            if process.sampler.settings()["strategy"] == "conf" && step > 0 {
                let confidences = golden.output(name, "conf").at(&[step - 1, row]);
                learn(&process, run.as_mut(), tokens, &predicted, confidences);
            }
            let (found, _) =
                process.step(run.as_mut(), StepTimes::new(times[step], times[step + 1]), tokens, &predicted);
            let stored = x.tokens(&[step, row]);
            for at in 0..length {
                let place = format!("{name} step {step} row {row} cell {at}");
                // A step of MDLM draws for written cells as well, and throws those draws away.
                if plain_step(settings, times[step]) && tokens[at] != network.mask() {
                    assert_eq!(stored[at], tokens[at], "{place}");
                    continue;
                }
                close(&normalised(&found[at]), &normalised(probs.at(&[step, row, at])), TOLERANCE, &place);
                assert_eq!(by_race(&found[at], &uniforms[row][at * network.vocabulary..]), stored[at], "{place}");
                if process.sampler.settings()["strategy"] == "conf" && tokens[at] == network.mask() {
                    let stored_confidence = golden.output(name, "conf").at(&[step, row])[at];
                    let confidence = match stored[at] == network.mask() {
                        true => f64::NEG_INFINITY,
                        false => -predicted.clean[at][stored[at] as usize],
                    };
                    assert!(
                        confidence == stored_confidence || (confidence - stored_confidence).abs() <= TOLERANCE,
                        "{place}"
                    );
                }
            }
            *tokens = stored;
        }
    }
    assert!(draws.finished(), "{name}");
    greedy_end(golden, name, &network, &canvases);
}

/// Whether a step takes nothing back: that of MDLM, and that of `loop` outside of the times at which alpha is held.
fn plain_step(settings: &Value, t: f64) -> bool {
    let time = |key: &str| settings[key].as_f64().expect("a time");
    match settings["sampler"].as_str() {
        Some("mdlm") => true,
        Some("remdm-loop") => t > time("t_on") || t <= time("t_off"),
        _ => false,
    }
}

/// The network sees no time here.
fn plain(network: &Network<'_>, tokens: &[Token]) -> Logits {
    network.logits(tokens, 0.0, None)
}

/// A run learns a confidence by writing a token: here all of the reference's at once.
fn learn(
    process: &Process<'_>,
    run: &mut dyn BlockSampler,
    tokens: &[Token],
    predicted: &Predicted,
    confidences: &[f64],
) {
    let mut proposals = predicted.proposals.clone();
    for (at, proposal) in proposals.iter_mut().enumerate() {
        (proposal.token, proposal.probability) = (tokens[at], -confidences[at]);
    }
    let known = Predicted { proposals, ..predicted.clone() };
    // A step to s = 0 writes every cell. One that is a mask still has an infinite confidence, and so no share of sigma.
    let masks = vec![process.noise.mask().expect("a mask"); tokens.len()];
    process.step(run, StepTimes::new(1.0, 0.0), &masks, &known);
}

/// The last step writes the argmax of the masks that are left; that is the tail `greedy` of our ancestral sampler.
fn greedy_end(golden: &Golden, name: &str, network: &Network<'_>, canvases: &[Vec<Token>]) {
    let noise = Masked { schedule: Linear, mask: network.mask() };
    let process = Process::new("ancestral", json!({ "tail": "greedy" }), &noise, golden.size("L"));
    for (row, tokens) in canvases.iter().enumerate() {
        let predicted = Predicted::new(&plain(network, tokens), tokens, &process.transform(), network.vocabulary);
        let mut run = process.begin(Compat::Exact);
        let (_, actions) = process.step(run.as_mut(), StepTimes::new(1e-5, 0.0), tokens, &predicted);
        assert_eq!(after(tokens, &actions), golden.output(name, "final").tokens(&[row]), "{name} row {row}");
    }
}
