//! SEDD: scores, rates and score entropy of its two graphs.

use lldm_diffusion::noise::{Masked, Uniform};
use lldm_diffusion::schedule::{Geometric, Linear, LogLinear, Schedule};
use lldm_diffusion::{Noise, Token};
use lldm_train::objective::{NoisedCell, score_entropy, score_shift};

use crate::files::{Golden, LOOSE, TOLERANCE};

fn noise(golden: &Golden, graph: &str, schedule: Box<dyn Schedule>) -> Box<dyn Noise> {
    match graph {
        "absorb" => Box::new(Masked { schedule, mask: golden.mask() }),
        "uniform" => Box::new(Uniform { schedule, alphabet: golden.everything() }),
        other => panic!("there is no graph {other}"),
    }
}

/// ln of the V scores of a cell.
fn log_scores(noise: &dyn Noise, outputs: &[f64], held: Token, t: f64) -> Vec<f64> {
    let shift = score_shift(noise, outputs.len(), t);
    let score = |(token, output): (usize, &f64)| if token == held as usize { 0.0 } else { output + shift };
    outputs.iter().enumerate().map(score).collect()
}

#[test]
fn golden_objectives_sedd_scores_and_rates() {
    let golden = Golden::open("sedd");
    let (sigma, step) = (golden.input("ops.sigma"), golden.input("ops.dsigma"));
    let held = golden.input_tokens("ops.xt");
    // On the linear schedule, sigma is -ln(1 - t), and it grows by 1 / alpha per unit of t.
    let times: Vec<_> = sigma.iter().map(|sigma| 1.0 - (-sigma).exp()).collect();
    let past: Vec<_> = sigma.iter().zip(&step).map(|(sigma, step)| 1.0 - (step - sigma).exp()).collect();
    let outputs = golden.network(&held, &sigma, &[]);
    for graph in golden.between("", ".log_score") {
        let noise = noise(&golden, &graph, Box::new(Linear));
        let noise = noise.as_ref();
        let tokens = || 0..golden.vocabulary as Token;
        let (mut scores, mut entropies, mut rates) = (Vec::new(), Vec::new(), Vec::new());
        let (mut reverse, mut staggered, mut transitions) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (outputs, cell)) in outputs.iter().zip(golden.cells(&held, &times)).enumerate() {
            let (z, t, s) = (cell.held, cell.time, past[at / golden.length]);
            let now = noise.marginal(t);
            let log_score = log_scores(noise, outputs, z, t);
            entropies.push(score_entropy(noise, outputs, &cell) * now.alpha);
            // The rates by which other tokens are left for z, and z for others, per unit of sigma.
            let to = |j: Token| noise.arrival_rate(j, t) * now.alpha;
            let leave: f64 = tokens().filter(|j| *j != z).map(to).sum();
            rates.extend(tokens().map(|j| if j == z { -leave } else { to(z) }));
            let back: Vec<_> =
                tokens().map(|j| if j == z { 0.0 } else { to(z) * log_score[j as usize].exp() }).collect();
            let total: f64 = back.iter().sum();
            reverse.extend(tokens().map(|j| if j == z { -total } else { back[j as usize] }));
            // q_(t|s) undone.
            let before = noise.marginal(s);
            let kept = now.alpha / before.alpha;
            let sum: f64 = log_score.iter().map(|score| score.exp()).sum();
            staggered.extend(tokens().map(|j| {
                let arrived = noise.noise_at(now, j) - kept * noise.noise_at(before, j);
                (log_score[j as usize].exp() - arrived * sum) / kept
            }));
            // From every token to z within the step.
            let short = noise.marginal(1.0 - (-step[at / golden.length]).exp());
            transitions.extend(tokens().map(|j| noise.noise_at(short, z) + if j == z { short.alpha } else { 0.0 }));
            scores.extend(log_score);
        }
        let expect = |what: &str, found: &[f64]| golden.expect(&format!("{graph}.{what}"), found, TOLERANCE);
        expect("log_score", &scores);
        expect("score_entropy", &entropies);
        expect("transp_rate", &rates);
        expect("reverse_rate", &reverse);
        expect("staggered", &staggered);
        expect("transp_transition", &transitions);
    }
}

#[test]
fn golden_objectives_sedd_loss() {
    let golden = Golden::open("sedd");
    let mut seen = 0;
    for (name, case) in golden.cases("") {
        let Some(name) = name.strip_suffix(".loss") else { continue };
        let (graph, schedule) = name.split_once('.').unwrap();
        let schedule: Box<dyn Schedule> = match schedule {
            "loglinear" => Box::new(LogLinear { eps: 1e-3 }),
            // As the README has it.
            "geometric" => Box::new(Geometric { sigma_min: 1e-3, sigma_max: 3.0 }),
            other => panic!("there is no schedule {other}"),
        };
        let eps = case["sampling_eps"].as_f64().unwrap();
        let times = golden.times(eps, false);
        let chances: Vec<_> = times.iter().map(|t| 1.0 - schedule.alpha(*t)).collect();
        let sigma: Vec<_> = times.iter().map(|t| -schedule.alpha(*t).ln()).collect();
        let held = golden.moved(&chances, (graph == "absorb").then(|| golden.mask()));
        golden.expect_tokens(&format!("{name}.xt"), &held);
        let noise = noise(&golden, graph, schedule);
        let outputs = golden.network(&held, &sigma, &[]);
        let cells = golden.cells(&held, &times);
        let entropy = |(outputs, cell): (&Vec<f64>, &NoisedCell)| score_entropy(noise.as_ref(), outputs, cell);
        let losses: Vec<_> = outputs.iter().zip(&cells).map(entropy).collect();
        let sums: Vec<f64> = losses.chunks(golden.length).map(|row| row.iter().sum()).collect();
        golden.expect(&format!("{name}.loss"), &sums, LOOSE);
        seen += 1;
    }
    assert!(seen > 0);
}
