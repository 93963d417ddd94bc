//! Duo's repository: its uniform bound, its masked, score and D3PM losses, and the curriculum's loss at a given x_t.

use lldm_diffusion::Noise;
use lldm_diffusion::noise::{Masked, Uniform};
use lldm_diffusion::schedule::{Cosine, Linear, LogLinear, Schedule};
use lldm_train::objective::{NoisedCell, score_entropy, score_shift};
use serde_json::Value;

use crate::files::{Given, Golden, TOLERANCE, density, log_softmax, step_divergence};

/// The clip of its schedules.
const EPS: f64 = 1e-3;
/// Where its curriculum ends (`configs/algo/duo.yaml`).
const GAMMA_MAX: f64 = -1.75;

/// What D3PM's loss here has too much: alpha_s is t - dt where 1 - (t - dt) is meant.
fn excess(golden: &Golden, logits: &[f64], t: f64, steps: f64) -> f64 {
    let past = t - 1.0 / steps;
    let mask = log_softmax(logits)[golden.mask() as usize].exp();
    let term = |alpha: f64| (alpha * mask / past + 1.0).ln();
    -steps * (past / t) * (term(past) - term(1.0 - past))
}

#[test]
fn golden_objectives_duo_losses() {
    let golden = Golden::open("duo");
    let mut seen = 0;
    for (name, case) in golden.cases("loss.") {
        if case["train_mode"] == true {
            continue;
        }
        let setting = |key: &str| case["settings"].get(key).cloned().unwrap_or(Value::Null);
        let key = |what: &str| format!("loss.{name}.{what}");
        let steps = setting("algo.T").as_f64().unwrap_or(0.0);
        let eps = setting("training.sampling_eps").as_f64().unwrap_or(1e-3);
        let mut times = golden.times(eps, true);
        golden.expect(&key("t"), &times, TOLERANCE);
        if steps > 0.0 {
            times.iter_mut().for_each(|t| *t = (*t * steps).floor() / steps + 1.0 / steps);
        }
        let (schedule, times): (Box<dyn Schedule>, Vec<f64>) = match setting("noise.type") == "cosine" {
            // Clipped in time; its derivative is by the clipped time, which the factor 1 - eps is wanting for.
            true => (Box::new(Cosine), times.iter().map(|t| (1.0 - EPS) * t).collect()),
            false => (Box::new(LogLinear { eps: EPS }), times),
        };
        let alphas: Vec<_> = times.iter().map(|t| schedule.alpha(*t)).collect();
        let slopes: Vec<_> = times.iter().map(|t| schedule.alpha_derivative(*t)).collect();
        golden.expect(&key("alpha_t"), &alphas, TOLERANCE);
        golden.expect(&key("dalpha_t"), &slopes, TOLERANCE);
        let absorbing = !name.starts_with("duo_");
        let chances: Vec<_> = alphas.iter().map(|alpha| 1.0 - alpha).collect();
        let held = golden.moved(&chances, absorbing.then(|| golden.mask()));
        golden.expect_tokens(&key("xt"), &held);

        let timed = setting("algo.time_conditioning") != false;
        let sigma: Vec<_> = alphas.iter().map(|alpha| if timed { -alpha.ln() } else { 0.0 }).collect();
        let logits = golden.network(&held, &sigma, &[]);
        let cells = golden.cells(&held, &times);
        let noise: Box<dyn Noise> = match absorbing {
            true => Box::new(Masked { schedule, mask: golden.mask() }),
            false => Box::new(Uniform { schedule, alphabet: golden.everything() }),
        };
        let noise = noise.as_ref();
        let losses: Vec<f64> = match name.as_str() {
            "sedd_absorb" => {
                let score = |(outputs, cell): (&Vec<f64>, &NoisedCell)| {
                    let shift = score_shift(noise, golden.vocabulary, cell.time);
                    let own = |token: usize| token == cell.held as usize;
                    let scores = outputs.iter().enumerate();
                    scores.map(|(token, output)| if own(token) { 0.0 } else { output + shift }).collect::<Vec<_>>()
                };
                let scores: Vec<_> = logits.iter().zip(&cells).flat_map(score).collect();
                golden.expect(&key("log_x_theta"), &scores, TOLERANCE);
                logits.iter().zip(&cells).map(|(outputs, cell)| score_entropy(noise, outputs, cell)).collect()
            }
            "d3pm_absorb" => {
                let x0 = golden.input_tokens("x0");
                let clean = golden.network(&x0, &vec![0.0; golden.batch], &[]);
                let step = |at: usize| {
                    // Its time here is 1 - alpha, clipped.
                    let time = (1.0 - alphas[at / golden.length]).min(1.0 - 1e-4);
                    let cell = NoisedCell { time, ..cells[at] };
                    let linear = Masked { schedule: Linear, mask: golden.mask() };
                    match cell.held == golden.mask() {
                        true => {
                            step_divergence(&linear, &logits[at], &cell, steps)
                                + excess(&golden, &logits[at], time, steps)
                        }
                        false => 0.0,
                    }
                };
                (0..x0.len()).map(|at| step(at) - log_softmax(&clean[at])[x0[at] as usize]).collect()
            }
            _ => logits.iter().zip(&cells).map(|(logits, cell)| density(noise, logits, cell)).collect(),
        };
        if name != "sedd_absorb" && name != "mdlm" {
            let found: Vec<_> = logits.iter().flat_map(|row| log_softmax(row)).collect();
            golden.expect(&key("log_x_theta"), &found, TOLERANCE);
        }
        golden.expect(&key("per_token"), &losses, TOLERANCE);
        golden.expect(&key("loss"), &[golden.masked_mean(&losses)], TOLERANCE);
        seen += 1;
    }
    assert!(seen > 0);
}

/// The curriculum's alpha comes from a table and its derivative from coarse differences of it; the loss is the closed form.
#[test]
fn golden_objectives_duo_curriculum_loss_of_what_it_drew() {
    let golden = Golden::open("duo");
    for (name, case) in golden.cases("loss.") {
        if case["train_mode"] != true {
            continue;
        }
        let key = |what: &str| format!("loss.{name}.{what}");
        let (alphas, slopes) = (golden.output(&key("alpha_t")), golden.output(&key("dalpha_t")));
        let logits = golden.output(&key("log_x_theta"));
        let cells = golden.cells(&golden.output_tokens(&key("xt")), &golden.output(&key("t")));
        let loss = |at: usize| {
            let (alpha, slope) = (alphas[at / golden.length], slopes[at / golden.length]);
            let noise = Given { alpha, slope, alphabet: golden.everything() };
            density(&noise, &logits[at * golden.vocabulary..(at + 1) * golden.vocabulary], &cells[at])
        };
        let losses: Vec<_> = (0..cells.len()).map(loss).collect();
        golden.expect(&key("per_token"), &losses, TOLERANCE);
        golden.expect(&key("loss"), &losses, TOLERANCE);
    }
    // The prior's distance from a uniform draw at the largest gamma, from the nearest point of the table.
    let table = golden.input("integral.pt");
    let range = |name: &str| golden.run["integral"][name].as_f64().unwrap();
    let place = (GAMMA_MAX - range("gamma_min")) / (range("gamma_max") - range("gamma_min"));
    let last = table[(place * (table.len() - 1) as f64).round() as usize];
    let alpha = (golden.vocabulary as f64 * last - 1.0) / (golden.vocabulary as f64 - 1.0);
    let noise = Given { alpha, slope: 0.0, alphabet: golden.everything() };
    golden.expect("curriculum.prior_loss", &[noise.prior_nats(golden.vocabulary, 1.0)], TOLERANCE);
}
