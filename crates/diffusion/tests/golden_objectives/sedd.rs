//! louaaron/Score-Entropy-Discrete-Diffusion: Euler and analytic steps along scores, and the last step that removes noise.
//!
//! The scores s(v) = q_t(v) / q_t(x) are turned into what they say about the clean token, which is linear: it need not be a
//! distribution. Under masked noise the reference's last entry, the mask's, is 1 minus the others.

use std::collections::BTreeSet;

use lldm_diffusion::noise::{Alphabet, Masked, Noise, Uniform};
use lldm_diffusion::schedule::{Geometric, LogLinear, Schedule};
use lldm_diffusion::{Compat, Rng, Token};
use serde_json::{Value, json};

use crate::draws::{Draws, by_race};
use crate::file::Golden;
use crate::network::Network;
use crate::replay::{Predicted, Process, close};
use crate::{TOLERANCE, WIDE_TOLERANCE, linspace};

#[test]
fn golden_objectives_sedd_samplers() {
    let golden = Golden::read("sedd");
    let mut tested = 0;
    for (name, case) in golden.samplers() {
        let parts: Vec<_> = name.split('.').collect();
        let [graph, schedule, method] = parts[..] else { panic!("{name} has not three parts") };
        // The README: the log-linear schedule with its usual end, the geometric one from 1e-3 to 3.
        let (schedule, tolerance): (Box<dyn Schedule>, _) = match schedule {
            "loglinear" => (Box::new(LogLinear { eps: 1e-3 }), WIDE_TOLERANCE),
            "geometric" => (Box::new(Geometric { sigma_min: 1e-3, sigma_max: 3.0 }), TOLERANCE),
            other => panic!("this test does not know the schedule `{other}`"),
        };
        let network = Network::new(&golden);
        let (vocabulary, mask) = (network.vocabulary, network.mask());
        let noise: Box<dyn Noise> = match graph {
            "absorb" => Box::new(Masked { schedule, mask }),
            "uniform" => Box::new(Uniform { schedule, alphabet: Alphabet { vocabulary, without: None } }),
            other => panic!("this test does not know the graph `{other}`"),
        };
        check(&golden, name, case, method, noise.as_ref(), tolerance);
        tested += 1;
    }
    golden.compare_left_out(&BTreeSet::new(), &[], tested);
}

fn check(golden: &Golden, name: &str, case: &Value, method: &str, noise: &dyn Noise, first_tolerance: f64) {
    let (network, length) = (Network::new(golden), golden.size("L"));
    let (steps, eps) = (case["steps"].as_u64().expect("steps") as usize, case["eps"].as_f64().expect("eps"));
    let process = Process::new("tau_leaping", json!({ "steps": steps, "method": method }), noise, length);
    let mut grid = linspace(1.0, eps, steps);
    grid.push(0.0);
    let mut draws = Draws::new(golden, case);
    let mut canvases = match noise.mask() {
        Some(mask) => vec![vec![mask; length]; golden.size("B")],
        None => draws.next_tokens(),
    };
    let mut runs: Vec<_> = canvases.iter().map(|_| process.begin(Compat::Exact)).collect();
    for step in 0..=steps {
        let uniforms = draws.next();
        for (row, (tokens, run)) in canvases.iter_mut().zip(&mut runs).enumerate() {
            // Our own grid is the reference's.
            let times = run.next_step(length, &Rng::new(0, 0).at(0, step));
            assert!((times.t - grid[step]).abs() < 1e-12 && (times.s - grid[step + 1]).abs() < 1e-12, "{name} {step}");
            let predicted = Predicted::from_clean(clean_from_scores(&network, noise, tokens, times.t), tokens);
            let (mut found, _) = process.step(run.as_mut(), times, tokens, &predicted);
            if let Some(mask) = noise.mask() {
                found.iter_mut().for_each(|row| rest_is_mask(row, mask));
            }
            let last = step == steps;
            let stored = match last {
                true => golden.output(name, "final").tokens(&[row]),
                false => golden.output(name, "x").tokens(&[step, row]),
            };
            for at in 0..length {
                let place = format!("{name} step {step} row {row} cell {at}");
                let probs = match last {
                    true => golden.output(name, "probs_denoise").at(&[row, at]),
                    false => golden.output(name, "probs").at(&[step, row, at]),
                };
                // The last step has no column for the mask.
                let found = &found[at][..probs.len()];
                let tolerance = if step == 0 { first_tolerance } else { TOLERANCE };
                close(found, probs, tolerance, &place);
                assert_eq!(by_race(found, &uniforms[row][at * probs.len()..]), stored[at], "{place}");
            }
            *tokens = stored;
        }
    }
    assert!(draws.finished(), "{name}");
}

/// What the scores of the network say about the clean tokens, [L][V].
pub(crate) fn clean_from_scores(network: &Network<'_>, noise: &dyn Noise, tokens: &[Token], t: f64) -> Vec<Vec<f64>> {
    let now = noise.marginal(t);
    let vocabulary = network.vocabulary as f64;
    let rows = network.rows(tokens, -now.alpha.ln(), None);
    let clean = |(row, held): (Vec<f32>, &Token)| -> Vec<f64> {
        // The network's own tail: under masked noise a division by e^sigma - 1 and by V - 1; the token held has score 1.
        let scale = noise.mask().map_or(1.0, |_| (1.0 / now.alpha - 1.0) * (vocabulary - 1.0));
        let mut scores: Vec<_> = row.iter().map(|logit| f64::from(*logit).exp() / scale).collect();
        scores[*held as usize] = 1.0;
        match noise.mask() {
            // Of a mask, q_t(v) / q_t(mask) = p(v) alpha / (1 - alpha).
            Some(mask) => {
                scores[mask as usize] = 0.0;
                scores.iter().map(|score| score * (1.0 - now.alpha) / now.alpha).collect()
            }
            None => {
                let total: f64 = scores.iter().sum();
                scores.iter().map(|score| (score / total - now.uniform / vocabulary) / now.alpha).collect()
            }
        }
    };
    rows.into_iter().zip(tokens).map(clean).collect()
}

/// Sets the entry of the mask to 1 minus the others.
pub(crate) fn rest_is_mask(row: &mut [f64], mask: Token) {
    row[mask as usize] = 0.0;
    row[mask as usize] = 1.0 - row.iter().sum::<f64>();
}
