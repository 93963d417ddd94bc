//! The Monte Carlo bound against a brute-force integral: every noisy text, every cell, a fine grid of times.
//!
//! The reference uses the marginals alone. Its integrand is the KL divergence of one short reverse step, by Bayes' rule and
//! divided by the step, so it shares no weight and no closed form with what it judges.

use std::sync::Arc;

use lldm::likelihood::{MonteCarloConfig, monte_carlo_bound};
use lldm_diffusion::noise::registry::{ALL, Space, build};
use lldm_diffusion::vocabulary::{NoisedCell, bound_terms};
use lldm_diffusion::{Condition, Denoiser, LogitTransform, Logits, Noise, State, StepInput, Token};
use serde_json::Map;

use crate::{Tempered, table};

/// The ends of the integral.
const ENDS: (f64, f64) = (1e-4, 1.0 - 1e-4);
/// Points of the grid, even in ln(t / (1 - t)).
const POINTS: usize = 300;
/// What grid, step and f32 logits may cost, in nats.
const GRID: f64 = 2e-3;
const WORDS: usize = 2;
const CELLS: usize = 3;

/// A model under a noise, and one clean text.
struct Case<'a> {
    model: &'a Tempered,
    noise: &'a dyn Noise,
    text: &'a [Token],
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let weights: Vec<_> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

fn normalised(weights: Vec<f64>) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

fn divergence(truth: &[f64], model: &[f64]) -> f64 {
    truth.iter().zip(model).filter(|(truth, _)| **truth > 0.0).map(|(truth, model)| truth * (truth / model).ln()).sum()
}

fn one_hot(token: Token) -> Vec<f64> {
    (0..=WORDS).map(|other| f64::from(u8::from(other == token as usize))).collect()
}

/// q_t(z | x_0 ~ `clean`) of every z.
fn noised(noise: &dyn Noise, clean: &[f64], t: f64) -> Vec<f64> {
    let now = noise.marginal(t);
    clean.iter().enumerate().map(|(z, p)| now.alpha * p + noise.noise_at(now, z as Token)).collect()
}

/// q(x_s | x_t = `held`, x_0 ~ `clean`) by Bayes' rule.
fn step(noise: &dyn Noise, clean: &[f64], held: Token, s: f64, t: f64) -> Vec<f64> {
    let (past, now) = (noise.marginal(s), noise.marginal(t));
    let kept = now.alpha / past.alpha;
    let arrived = (noise.noise_at(now, held) - kept * noise.noise_at(past, held)).max(0.0);
    let before = noised(noise, clean, s).into_iter().enumerate();
    normalised(before.map(|(u, p)| p * (arrived + if u == held as usize { kept } else { 0.0 })).collect())
}

impl Case<'_> {
    /// E_z of `measure`, summed over the cells; it is given the clean token, the one held and the prediction.
    fn expect(&self, t: f64, measure: impl Fn(Token, Token, &[f64]) -> f64) -> f64 {
        let mut total = 0.0;
        for number in 0..(WORDS + 1).pow(CELLS as u32) {
            let z: Vec<_> = (0..CELLS).map(|at| (number / (WORDS + 1).pow(at as u32) % (WORDS + 1)) as Token).collect();
            let each = self.text.iter().zip(&z).map(|(x, z)| noised(self.noise, &one_hot(*x), t)[*z as usize]);
            let p: f64 = each.product();
            if p == 0.0 {
                continue;
            }
            let mut context = self.model.prefill(&[]).unwrap();
            let condition = Condition::Given;
            let input = StepInput { state: State::Tokens(&z), time: t, temperature: 1.0, previous: None, condition };
            let prediction = self.model.denoise(&input, &mut context).unwrap();
            let rows = prediction.as_any().downcast_ref::<Logits>().unwrap();
            total += p * (0..CELLS).map(|at| measure(self.text[at], z[at], &softmax(rows.row(at)))).sum::<f64>();
        }
        total
    }

    /// The reconstruction, the integral and the prior.
    fn bound(&self) -> f64 {
        let noise = self.noise;
        let reconstruction = self.expect(ENDS.0, |x, z, p| {
            let weights = (0..=WORDS).map(|v| p[v] * noised(noise, &one_hot(v as Token), ENDS.0)[z as usize]);
            -normalised(weights.collect())[x as usize].ln()
        });
        let logit = |t: f64| (t / (1.0 - t)).ln();
        let width = (logit(ENDS.1) - logit(ENDS.0)) / POINTS as f64;
        let integral = (0..POINTS).map(|point| {
            let t = 1.0 / (1.0 + (-logit(ENDS.0) - width * (point as f64 + 0.5)).exp());
            let short = 1e-4 * t * (1.0 - t);
            let (s, t_after) = (t - short / 2.0, t + short / 2.0);
            let rate = self.expect(t_after, |x, z, p| {
                divergence(&step(noise, &one_hot(x), z, s, t_after), &step(noise, p, z, s, t_after))
            });
            rate / short * t * (1.0 - t) * width
        });
        let mean = noised(noise, &[1.0 / WORDS as f64, 1.0 / WORDS as f64, 0.0], ENDS.1);
        let prior = self.text.iter().map(|x| divergence(&noised(noise, &one_hot(*x), ENDS.1), &mean));
        reconstruction + integral.sum::<f64>() + prior.sum::<f64>()
    }

    /// The mean of many estimates and its standard error, from those that they claim.
    fn estimate(&self) -> (f64, f64) {
        let count = 12;
        let (mut sum, mut variance) = (0.0, 0.0);
        for seed in 0..count {
            let config = MonteCarloConfig { block_length: 0, samples: 4000, seed };
            let found = monte_carlo_bound(self.model, self.noise, &[], self.text, &config).unwrap();
            sum += found.nats;
            variance += found.standard_error.unwrap().powi(2);
        }
        (sum / count as f64, variance.sqrt() / count as f64)
    }
}

fn noises() -> Vec<Arc<dyn Noise>> {
    let space = Space { vocabulary: WORDS + 1, mask: Some(WORDS as Token) };
    ALL.iter().map(|spec| build(spec.name, &Map::new(), space).unwrap().into()).collect()
}

/// Nothing is drawn here: weight times terms, cell by cell, against the divergence of a short step.
#[test]
fn the_integrand_is_the_divergence_of_a_short_step() {
    let transform = LogitTransform { banned: vec![WORDS as Token], ..LogitTransform::default() };
    for noise in noises() {
        for (p, t) in [(0.03_f64, 0.01), (0.5, 0.2), (0.2, 0.5), (0.9, 0.5), (0.7, 0.97)] {
            let (plug_in, logits) = ([p, 1.0 - p, 0.0], [p.ln() as f32, (1.0 - p).ln() as f32, 0.0]);
            for (clean, held) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
                if noised(noise.as_ref(), &one_hot(clean), t)[held as usize] == 0.0 {
                    continue;
                }
                let cell = NoisedCell { row: 0, clean, held, shift: 0.0 };
                let found = noise.bound_weight(held, clean, t)
                    * bound_terms(&logits, &transform, noise.as_ref(), &cell, t).divergence;
                let short = 1e-4 * t * (1.0 - t);
                let [truth, model] =
                    [&one_hot(clean)[..], &plug_in].map(|clean| step(noise.as_ref(), clean, held, t - short, t));
                let expected = divergence(&truth, &model) / short;
                let within = 1e-3 * expected.abs() + 1e-5;
                assert!((found - expected).abs() < within, "{} {cell:?} {p} {t}: {found} {expected}", noise.name());
            }
        }
    }
}

#[test]
fn monte_carlo_is_the_brute_force_integral() {
    for noise in noises() {
        for power in [0.4, 1.0, 1.8] {
            let model = Tempered::new(table(WORDS, CELLS).under(Arc::clone(&noise)), power, None);
            for text in [[0, 1, 1], [1, 0, 0]] {
                let case = Case { model: &model, noise: noise.as_ref(), text: &text };
                let (expected, (found, error)) = (case.bound(), case.estimate());
                let name = noise.name();
                assert!(
                    (found - expected).abs() < 4.0 * error + GRID,
                    "{name}, power {power}, {text:?}: {found} ± {error} for {expected}"
                );
            }
        }
    }
}

/// Gibbs: over the texts of the table no model's bound is below the entropy. The exact model's nearly meets it.
#[test]
fn no_models_bound_is_below_the_entropy() {
    for noise in noises() {
        for (power, most) in [(0.4, f64::INFINITY), (1.0, 0.02), (1.8, f64::INFINITY)] {
            let model = Tempered::new(table(WORDS, CELLS).under(Arc::clone(&noise)), power, None);
            let slack = model.table.texts().iter().map(|(text, p)| {
                let bound = Case { model: &model, noise: noise.as_ref(), text }.bound();
                p * (bound + p.ln())
            });
            let slack: f64 = slack.sum();
            assert!(slack > -GRID && slack < most, "{}, power {power}: {slack}", noise.name());
        }
    }
}
