//! GIDD: hybrid noise, its weights, its loss and gradient; and the repository's masked variant.

use lldm_diffusion::noise::{Hybrid, Masked};
use lldm_diffusion::schedule::{LogLinear, Schedule};
use lldm_diffusion::{Compat, Noise, Token};
use lldm_train::objective::closed_form::{divergence, divergence_gradient};
use lldm_train::objective::{Gidd, GiddConfig, NoisedCell, T_MAX, T_MIN, Weighting, stratified_time};

use crate::files::{Golden, LOOSE, TOLERANCE, density};

/// The reference has this in the place of p_uniform = 0.
const LEAST: f64 = -20.0;

/// What the sum of the cells' `values` with their `weights` is over what is no padding.
fn weighted_mean(golden: &Golden, values: &[f64], weights: &[f64]) -> f64 {
    let weighted: Vec<_> = values.iter().zip(weights).map(|(value, weight)| value * weight).collect();
    golden.masked_mean(&weighted) / golden.masked_mean(weights)
}

fn seen(noise: &Hybrid, z: Token, cell: &NoisedCell) -> f64 {
    let marginal = noise.marginal(cell.time);
    noise.noise_at(marginal, z) + if z == cell.clean { marginal.alpha } else { 0.0 }
}

#[test]
fn golden_objectives_gidd_loss_weights_and_gradient() {
    let golden = Golden::open("gidd");
    for name in golden.between("p", ".alpha") {
        let p = name.parse::<f64>().unwrap().max(LEAST.exp());
        let noise = Hybrid::new(p, golden.vocabulary, golden.mask());
        let key = |what: &str| format!("p{name}.{what}");
        let times = golden.input("schedule.t");
        let alphas: Vec<_> = times.iter().map(|t| noise.marginal(*t).alpha).collect();
        golden.expect(&key("alpha"), &alphas, TOLERANCE);
        let tokens = 0..golden.vocabulary as Token;
        let at = |t: &f64| tokens.clone().map(|z| noise.noise_at(noise.marginal(*t), z)).collect::<Vec<_>>();
        golden.expect(&key("beta_pi"), &times.iter().flat_map(at).collect::<Vec<_>>(), TOLERANCE);
        let uniform = noise.marginal(0.5).uniform;
        golden.expect(&key("log_B"), &[(2.0 * uniform / (1.0 - uniform)).ln()], TOLERANCE);

        let times = golden.input("t");
        let held = golden.output_tokens(&key("z_t"));
        let cells = golden.cells(&held, &times);
        let chances: Vec<_> = cells.iter().flat_map(|cell| tokens.clone().map(|z| seen(&noise, z, cell))).collect();
        golden.expect(&key("q_zt"), &chances, TOLERANCE);
        let draws = golden.cell_draws();
        let drawn = |(row, u): (&[f64], f64)| {
            let mut sum = 0.0;
            let mut below = |chance: &f64| {
                sum += chance;
                sum <= u
            };
            row.iter().take_while(|chance| below(chance)).count() as Token
        };
        let found: Vec<_> = chances.chunks(golden.vocabulary).zip(draws).map(drawn).collect();
        golden.expect_tokens(&key("z_t"), &found);
        let ratios: Vec<_> = times.iter().map(|t| noise.slope(*t).alpha / noise.marginal(*t).alpha).collect();
        golden.expect(&key("alpha_ratio"), &ratios, TOLERANCE);

        let logits = golden.input("logits");
        let logits: Vec<_> = logits.chunks(golden.vocabulary).collect();
        let rows = || logits.iter().zip(&cells);
        let parts: Vec<_> = rows().map(|(logits, cell)| divergence(&noise, logits, cell)).collect();
        let gradients: Vec<_> = rows().map(|(logits, cell)| divergence_gradient(&noise, logits, cell)).collect();
        let bound: Vec<_> = rows().map(|(logits, cell)| density(&noise, logits, cell)).collect();
        golden.expect(&key("elbo"), &bound, TOLERANCE);
        for (weighting, case) in [(Weighting::Elbo, "none"), (Weighting::Clip, "clip"), (Weighting::Dynamic, "dynamic")]
        {
            let config = GiddConfig { p_uniform: p, weighting, compat: Compat::Reference, ..GiddConfig::default() };
            let weights: Vec<_> = cells.iter().map(|cell| Gidd(config).weight(&noise, cell)).collect();
            let stored = if case == "none" { key("elbo_weights") } else { key(&format!("loss_weights_{case}")) };
            golden.expect(&stored, &weights, TOLERANCE);
            let losses: Vec<_> = parts.iter().zip(&weights).map(|(part, weight)| weight * part.nats()).collect();
            golden.expect(&key(&format!("loss_{case}")), &losses, TOLERANCE);
            // Over all tokens, padding included.
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            golden.expect(&key(&format!("tokenmean_{case}")), &[mean], TOLERANCE);
            let kl: Vec<_> = parts.iter().map(|part| part.kl).collect();
            let is: Vec<_> = parts.iter().map(|part| part.itakura_saito).collect();
            let metrics = [
                weighted_mean(&golden, &kl, &weights),
                weighted_mean(&golden, &is, &weights),
                golden.masked_mean(&bound),
            ];
            golden.expect(&key(&format!("metrics_{case}")), &metrics, TOLERANCE);
            let scaled = gradients.iter().zip(&weights);
            let gradient: Vec<_> =
                scaled.flat_map(|(gradient, weight)| gradient.iter().map(move |slope| weight * slope)).collect();
            golden.expect(&key(&format!("grad_logits_{case}")), &gradient, TOLERANCE);
        }
    }
}

/// Ours at the same `dynamic`: only the weight of clean cells is another.
#[test]
fn golden_objectives_gidd_dynamic_weights_are_what_they_are_meant_to_be() {
    let golden = Golden::open("gidd");
    for name in golden.between("p", ".alpha") {
        let p = name.parse::<f64>().unwrap();
        let noise = Hybrid::new(p, golden.vocabulary, golden.mask());
        let ours = Gidd(GiddConfig { p_uniform: p, weighting: Weighting::Dynamic, ..GiddConfig::default() });
        let weight = |held, time| ours.weight(&noise, &NoisedCell { clean: 0, held, time });
        for t in golden.input("schedule.t") {
            assert_eq!((weight(1, t), weight(golden.mask(), t)), (1.0, 2.0));
        }
        // As the bound's weight, it grows as text gets cleaner.
        assert!(weight(0, 1e-3) >= weight(0, 0.5) && weight(0, 0.5) >= weight(0, 0.999));
        assert!(p == 0.0 || weight(0, 1e-3) > 5.0 * weight(0, 0.5));
    }
}

#[test]
fn golden_objectives_gidd_times_are_stratified() {
    let golden = Golden::open("gidd");
    let found = golden.output("sample_t_low_discrepancy");
    let eps = golden.run["cases"]["sample_t_True"]["t_eps"].as_f64().unwrap();
    let offset = golden.draws("rand_1")[0];
    for (row, t) in found.iter().enumerate() {
        let ours = (stratified_time(row, found.len(), offset) - T_MIN) / (T_MAX - T_MIN);
        assert!((eps + (1.0 - 2.0 * eps) * ours - t).abs() < 1e-6, "{row}");
    }
}

#[test]
fn golden_objectives_gidd_masked_variant() {
    let golden = Golden::open("gidd");
    // The variant's own clip of the schedule, and of its time.
    let schedule = LogLinear { eps: 1e-4 };
    let times: Vec<_> = golden.input("schedule.t").into_iter().map(|t| t.clamp(1e-4, 1.0)).collect();
    let sigma: Vec<_> = times.iter().map(|t| -schedule.alpha(*t).ln()).collect();
    golden.expect("mdlm.sigma", &sigma, LOOSE);
    let slope: Vec<_> = times.iter().map(|t| -schedule.alpha_derivative(*t) / schedule.alpha(*t)).collect();
    golden.expect("mdlm.dsigma", &slope, LOOSE);
    let times = golden.input("t");
    let chances: Vec<_> = times.iter().map(|t| 1.0 - schedule.alpha(*t)).collect();
    let held = golden.moved(&chances, Some(golden.mask()));
    golden.expect_tokens("mdlm.z_t", &held);
    let noise = Masked { schedule, mask: golden.mask() };
    let logits = golden.input("logits");
    let cells = golden.cells(&held, &times);
    let rows = logits.chunks(golden.vocabulary).zip(&cells);
    golden.expect(
        "mdlm.loss",
        &rows.map(|(logits, cell)| density(&noise, logits, cell)).collect::<Vec<_>>(),
        TOLERANCE,
    );
}
