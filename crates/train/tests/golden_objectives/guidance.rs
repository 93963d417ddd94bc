//! UDLM's repository: the uniform bound, masked (SUBS) and D3PM losses.

use lldm_diffusion::Noise;
use lldm_diffusion::noise::{Masked, Uniform};
use lldm_diffusion::schedule::{Linear, LogLinear, Schedule};
use serde_json::Value;

use crate::files::{Golden, TOLERANCE, density, log_softmax, step_divergence};

/// The clip of its log-linear schedule, by which x_t is drawn.
const EPS: f64 = 1e-3;

/// The class of each row, found from what is stored: the case does not name it.
fn classes(golden: &Golden, stored: &[f64], predict: &dyn Fn(Option<usize>) -> Vec<Vec<f64>>) -> Vec<Option<usize>> {
    let count = golden.run["params"]["classes"].as_u64().unwrap() as usize;
    let cells = golden.length * golden.vocabulary;
    let candidates: Vec<_> = std::iter::once(None).chain((0..=count).map(Some)).collect();
    let answers: Vec<Vec<f64>> =
        candidates.iter().map(|class| predict(*class).iter().flat_map(|row| log_softmax(row)).collect()).collect();
    let nearest = |row: usize| {
        let range = row * cells..(row + 1) * cells;
        let distance = |answer: &Vec<f64>| -> f64 {
            answer[range.clone()].iter().zip(&stored[range.clone()]).map(|(a, b)| (a - b).abs()).sum()
        };
        (0..candidates.len()).min_by(|a, b| distance(&answers[*a]).total_cmp(&distance(&answers[*b]))).unwrap()
    };
    (0..golden.batch).map(|row| candidates[nearest(row)]).collect()
}

#[test]
fn golden_objectives_guidance_losses() {
    let golden = Golden::open("guidance");
    let cases = golden.cases("loss.");
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let setting = |key: &str| case["settings"].get(key).cloned().unwrap_or(Value::Null);
        let key = |what: &str| format!("loss.{name}.{what}");
        let absorbing = setting("diffusion") == "absorbing_state";
        let subs = setting("parameterization") == "subs";
        let steps = setting("T").as_f64().unwrap_or(0.0);
        let eps = setting("training.sampling_eps").as_f64().unwrap_or(1e-3);
        let mut times = golden.times(eps, setting("training.antithetic_sampling") != false);
        golden.expect(&key("t"), &times, TOLERANCE);
        if steps > 0.0 {
            times.iter_mut().for_each(|t| *t = (*t * steps).floor() / steps + 1.0 / steps);
        }
        let schedule = LogLinear { eps: EPS };
        let chances: Vec<_> = times.iter().map(|t| 1.0 - schedule.alpha(*t)).collect();
        golden.expect(&key("move_chance"), &chances, TOLERANCE);
        let held = golden.moved(&chances, absorbing.then(|| golden.mask()));
        golden.expect_tokens(&key("xt"), &held);

        let timed = setting("time_conditioning") != false;
        let sigma: Vec<_> = times.iter().map(|t| if timed { -schedule.alpha(*t).ln() } else { 0.0 }).collect();
        let predict = |class: Option<usize>| golden.network(&held, &sigma, &vec![class; golden.batch]);
        let stored = golden.output(&key("log_x_theta"));
        let classes = if subs { vec![None; golden.batch] } else { classes(&golden, &stored, &predict) };
        let logits = golden.network(&held, &sigma, &classes);
        let cells = golden.cells(&held, &times);
        let answers = logits.iter().zip(&held).flat_map(|(logits, held)| match (subs, *held == golden.mask()) {
            (false, _) => log_softmax(logits),
            // The mask and all tokens but a visible cell's own are impossible, which the file has as -1e6.
            (true, true) => [log_softmax(&logits[..golden.vocabulary - 1]), vec![f64::NEG_INFINITY]].concat(),
            (true, false) => vec![0.0; golden.vocabulary],
        });
        golden.expect(&key("log_x_theta"), &answers.collect::<Vec<_>>(), TOLERANCE);

        let noise: Box<dyn Noise> = match (absorbing, steps > 0.0) {
            (true, false) => Box::new(Masked { schedule, mask: golden.mask() }),
            (true, true) => Box::new(Masked { schedule: Linear, mask: golden.mask() }),
            // The loss takes alpha for 1 - t, though x_t was drawn by the clipped schedule.
            (false, _) => Box::new(Uniform { schedule: Linear, alphabet: golden.everything() }),
        };
        let diffusion: Vec<_> = logits
            .iter()
            .zip(&cells)
            .map(|(logits, cell)| match steps > 0.0 {
                true if absorbing && cell.held != golden.mask() => 0.0,
                true => {
                    let clipped = lldm_train::objective::NoisedCell { time: cell.time.min(1.0 - 1e-4), ..*cell };
                    step_divergence(noise.as_ref(), logits, &clipped, steps)
                }
                false => density(noise.as_ref(), logits, cell),
            })
            .collect();
        let losses: Vec<_> = if subs {
            diffusion
        } else {
            // -ln of the plain prediction for clean text at t = 0, whatever its cells hold.
            let x0 = golden.input_tokens("x0");
            let clean = golden.network(&x0, &vec![0.0; golden.batch], &classes);
            let reconstruction: Vec<_> =
                clean.iter().zip(&x0).map(|(logits, token)| -log_softmax(logits)[*token as usize]).collect();
            golden.expect(&key("recon_loss"), &[golden.masked_mean(&reconstruction)], TOLERANCE);
            golden.expect(&key("diffusion_loss"), &[golden.masked_mean(&diffusion)], TOLERANCE);
            let zero = setting("zero_recon_loss") == true;
            diffusion.iter().zip(reconstruction).map(|(loss, more)| if zero { *loss } else { loss + more }).collect()
        };
        golden.expect(&key("nlls"), &golden.masked(&losses), TOLERANCE);
        golden.expect(&key("loss"), &[golden.masked_mean(&losses)], TOLERANCE);
    }
}
