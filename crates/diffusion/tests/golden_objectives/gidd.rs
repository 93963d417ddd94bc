//! dvruette/gidd: the reverse posterior of hybrid noise on the reference's grid, its masked variant, and self-correction.

use std::collections::BTreeSet;

use lldm_diffusion::noise::{Hybrid, Masked};
use lldm_diffusion::sampler::StepTimes;
use lldm_diffusion::schedule::LogLinear;
use lldm_diffusion::{Compat, LogitTransform, Token};
use serde_json::{Value, json};

use crate::draws::{Draws, by_inverse};
use crate::file::Golden;
use crate::network::Network;
use crate::replay::{Predicted, Process, after, close};
use crate::{LeftOut, TOLERANCE, linspace};

/// How near to 0 and 1 the repository's times go (`t_eps`), and the share of text that its masked noise leaves at t = 1.
const EPS: f64 = 1e-4;

#[test]
fn golden_objectives_gidd_samplers() {
    let golden = Golden::read("gidd");
    let (mut tested, mut left_out) = (0, BTreeSet::new());
    for (name, case) in golden.samplers() {
        if case["min_p"].as_f64().is_some_and(|min_p| min_p > 0.0) {
            left_out.insert((name, LeftOut::MinP));
            continue;
        }
        if case.get("temp").is_some() {
            correction(&golden, name, case);
        } else if let Some(p_uniform) = case["p_uniform"].as_f64() {
            assert_eq!(case["t_eps"].as_f64(), Some(EPS), "{name}");
            hybrid(&golden, name, case, p_uniform);
        } else {
            masked(&golden, name, case);
        }
        tested += 1;
    }
    let listed = ["p0.0.sampler_min_p", "p0.1.sampler_min_p", "p0.2.sampler_min_p"].map(|name| (name, LeftOut::MinP));
    golden.compare_left_out(&left_out, &listed, tested);
}

fn steps(case: &Value) -> usize {
    case["steps"].as_u64().expect("steps") as usize
}

fn hybrid(golden: &Golden, name: &str, case: &Value, p_uniform: f64) {
    let (network, length, steps) = (Network::new(golden), golden.size("L"), steps(case));
    let noise = Hybrid::new(p_uniform, network.vocabulary, network.mask());
    let process = Process::new("gidd", json!({ "steps": steps, "correction_steps": 0 }), &noise, length);
    let grid = linspace(EPS, 1.0 - EPS, steps);
    let (probs, x) = (golden.output(name, "probs"), golden.output(name, "x"));
    let mut draws = Draws::new(golden, case);
    let mut canvases = vec![vec![network.mask(); length]; golden.size("B")];
    let mut runs: Vec<_> = canvases.iter().map(|_| process.begin(Compat::Reference)).collect();
    for step in 0..steps {
        let uniforms = draws.next();
        for (row, (tokens, run)) in canvases.iter_mut().zip(&mut runs).enumerate() {
            let masks = tokens.iter().filter(|token| **token == network.mask()).count();
            let times = run.next_step(masks, &lldm_diffusion::Rng::new(0, 0).at(0, step));
            let (from, to) = (steps - 1 - step, (steps - 1 - step).saturating_sub(1));
            assert!((times.t - grid[from]).abs() < 1e-12 && (times.s - grid[to]).abs() < 1e-12, "{name} step {step}");

            let logits = network.logits(tokens, times.t, None);
            let predicted = Predicted::new(&logits, tokens, &process.transform(), network.vocabulary);
            let (found, _) = process.step(run.as_mut(), times, tokens, &predicted);
            let stored = x.tokens(&[step, row]);
            for at in 0..length {
                let place = format!("{name} step {step} row {row} cell {at}");
                close(&found[at], probs.at(&[step, row, at]), TOLERANCE, &place);
                assert_eq!(by_inverse(&found[at], uniforms[row][at]), stored[at], "{place}");
            }
            *tokens = stored;
        }
    }
    assert!(draws.finished(), "{name}");
}

/// The last step takes the argmax of the masks that are left.
fn masked(golden: &Golden, name: &str, case: &Value) {
    let (network, length, steps) = (Network::new(golden), golden.size("L"), steps(case));
    let noise = Masked { schedule: LogLinear { eps: EPS }, mask: network.mask() };
    let process = Process::new("ancestral", json!({ "tail": "greedy" }), &noise, length);
    let grid = linspace(EPS, 1.0 - EPS, steps);
    let (probs, x) = (golden.output(name, "probs"), golden.output(name, "x"));
    let mut draws = Draws::new(golden, case);
    let mut canvases = vec![vec![network.mask(); length]; golden.size("B")];
    for step in 0..steps {
        let from = steps - 1 - step;
        let uniforms = if from > 0 { draws.next() } else { Vec::new() };
        for (row, tokens) in canvases.iter_mut().enumerate() {
            let logits = network.logits(tokens, grid[from], None);
            let predicted = Predicted::new(&logits, tokens, &process.transform(), network.vocabulary);
            let times = StepTimes::new(grid[from], if from > 0 { grid[from - 1] } else { 0.0 });
            let (found, actions) = process.step(process.begin(Compat::Exact).as_mut(), times, tokens, &predicted);
            let stored = x.tokens(&[step, row]);
            if from == 0 {
                assert_eq!(after(tokens, &actions), stored, "{name} row {row}");
            }
            for at in (0..length).filter(|_| from > 0) {
                let place = format!("{name} step {step} row {row} cell {at}");
                if tokens[at] != network.mask() {
                    assert_eq!(stored[at], tokens[at], "{place}");
                    continue;
                }
                close(&found[at], probs.at(&[step, row, at]), TOLERANCE, &place);
                assert_eq!(by_inverse(&found[at], uniforms[row][at]), stored[at], "{place}");
            }
            *tokens = stored;
        }
    }
    assert!(draws.finished(), "{name}");
}

fn correction(golden: &Golden, name: &str, case: &Value) {
    let (network, length) = (Network::new(golden), golden.size("L"));
    let (temperature, t0) = (case["temp"].as_f64().expect("a temperature"), case["t0"].as_f64().expect("a time"));
    let accuracy: Vec<_> =
        case["accuracy"].as_array().expect("accuracies").iter().map(|a| a.as_f64().expect("one")).collect();
    let noise = Hybrid::new(0.0, network.vocabulary, network.mask());
    let settings = json!({
        "steps": 1,
        "correction_steps": accuracy.len(),
        "correction_temperature": temperature,
        "tokens_per_step": case["tokens_per_step"],
    });
    let process = Process::new("gidd", settings, &noise, length);
    let transform = LogitTransform { temperature, ..process.transform() };
    let z = golden.output(name, "z");
    let mut draws = Draws::new(golden, case);
    let uniforms: Vec<_> = accuracy.iter().map(|_| draws.next()).collect();
    let mut agree = vec![0; accuracy.len()];
    for row in 0..golden.size("B") {
        let mut tokens = golden.input("correct.z0").tokens(&[row]);
        let mut run = process.begin(Compat::Exact);
        // The one step of denoising: self-correction begins after it.
        let rng = lldm_diffusion::Rng::new(0, 0).at(0, 0);
        let predicted = predict(&network, &tokens, t0, &transform);
        let times = run.next_step(0, &rng);
        process.step(run.as_mut(), times, &tokens, &predicted);
        for (step, uniforms) in uniforms.iter().enumerate() {
            let times = run.next_step(0, &rng);
            assert_eq!((times.t, times.heat), (t0, temperature), "{name} step {step}");
            let mut predicted = predict(&network, &tokens, times.t, &transform);
            for (at, proposal) in predicted.proposals.iter_mut().enumerate() {
                let drawn = by_inverse(&predicted.clean[at], uniforms[row][at]);
                (proposal.token, proposal.probability) = (drawn, predicted.clean[at][drawn as usize]);
            }
            let (_, actions) = process.step(run.as_mut(), times, &tokens, &predicted);
            let stored = z.tokens(&[step, row]);
            assert_eq!(after(&tokens, &actions), stored, "{name} step {step} row {row}");
            agree[step] += predicted.proposals.iter().zip(&stored).filter(|(proposal, z)| proposal.best == **z).count();
            tokens = stored;
        }
    }
    let cells = (golden.size("B") * length) as f64;
    for (agree, accuracy) in agree.into_iter().zip(accuracy) {
        assert!((agree as f64 / cells - accuracy).abs() < 1e-6, "{name}: {agree} of {cells} cells hold the argmax");
    }
    assert!(draws.finished(), "{name}");
}

fn predict(network: &Network<'_>, tokens: &[Token], time: f64, transform: &LogitTransform) -> Predicted {
    Predicted::new(&network.logits(tokens, time, None), tokens, transform, network.vocabulary)
}
