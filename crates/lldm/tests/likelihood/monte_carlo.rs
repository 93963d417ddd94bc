//! The bound of any noise by Monte Carlo.
//!
//! With the exact conditionals the reverse process is the true one, and the bound is tight: it equals -ln p of the table, up
//! to the cut at the ends of the time. That needs no formula of ours.

use std::sync::Arc;

use lldm::likelihood::{Estimate, Kind, MonteCarloConfig, exhaustive_bound, monte_carlo_bound};
use lldm_diffusion::noise::registry::{ALL, Space, build};
use lldm_diffusion::toy::Table;
use lldm_diffusion::{
    Condition, Context, Denoiser, DenoiserInfo, Logits, Noise, Prediction, Result, State, StepInput, Token,
};
use serde_json::Map;

use crate::{Tempered, mean, table};

/// What the cut at the ends may leave out, in nats.
const CUT: f64 = 0.005;

fn noises(words: usize) -> Vec<Arc<dyn Noise>> {
    let space = Space { vocabulary: words + 1, mask: Some(words as Token) };
    ALL.iter().map(|spec| build(spec.name, &Map::new(), space).unwrap().into()).collect()
}

fn bound(model: &dyn Denoiser, noise: &dyn Noise, text: &[Token], samples: usize, seed: u64) -> Estimate {
    let config = MonteCarloConfig { block_length: 0, samples, seed };
    monte_carlo_bound(model, noise, &[], text, &config).unwrap()
}

#[test]
fn with_exact_conditionals_the_bound_is_the_likelihood() {
    let table = table(2, 3);
    for noise in noises(2) {
        let model = table.clone().under(Arc::clone(&noise));
        for (text, p) in table.texts() {
            let found = bound(&model, noise.as_ref(), text, 4000, 3);
            let within = 5.0 * found.standard_error.unwrap() + CUT;
            assert!((found.nats + p.ln()).abs() < within, "{}: {found:?} for {}", noise.name(), -p.ln());
            assert_eq!((found.kind, found.nfe), (Kind::Bound, 4008));
        }
    }
}

/// Over the texts of the table a wrong model's bound is above the entropy, under every noise.
#[test]
fn a_wrong_models_bound_is_above_the_entropy() {
    let table = table(2, 3);
    let entropy: f64 = table.texts().iter().map(|(_, p)| -p * p.ln()).sum();
    for noise in noises(2) {
        let model = Tempered::new(table.clone().under(Arc::clone(&noise)), 0.3, None);
        let each = table.texts().iter().map(|(text, p)| (p, bound(&model, noise.as_ref(), text, 600, 5).nats));
        let cross: f64 = each.map(|(p, nats)| p * nats).sum();
        assert!(cross > entropy + 0.04, "{}: {cross} for {entropy}", noise.name());
    }
}

/// The definition by brute force: every noisy text, every token, the integral by the midpoint rule.
fn by_definition(model: &dyn Denoiser, noise: &dyn Noise, text: &[Token], words: usize) -> f64 {
    let tokens = words + 1;
    let cells: u32 = text.len() as u32;
    let noisy: Vec<Vec<Token>> = (0..tokens.pow(cells))
        .map(|number| (0..cells).map(|at| (number / tokens.pow(at) % tokens) as Token).collect())
        .collect();
    let q = |z: Token, x: Token, t: f64| {
        let now = noise.marginal(t);
        now.alpha * f64::from(u8::from(z == x)) + noise.noise_at(now, z)
    };
    let mut context = model.prefill(&[]).unwrap();
    let mut answers = |z: &[Token], t: f64| -> Vec<Vec<f64>> {
        let state = State::Tokens(z);
        let input = StepInput { state, time: t, temperature: 1.0, previous: None, condition: Condition::Given };
        let prediction = model.denoise(&input, &mut context).unwrap();
        let logits = prediction.as_any().downcast_ref::<Logits>().unwrap();
        let row = |at: usize| {
            let weights: Vec<f64> = logits.row(at)[..words].iter().map(|l| f64::from(*l).exp()).collect();
            let total: f64 = weights.iter().sum();
            weights.iter().map(|weight| weight / total).chain([0.0]).collect()
        };
        (0..z.len()).map(row).collect()
    };
    let mut mean_over = |t: f64, cost: &dyn Fn(Token, Token, &[f64]) -> f64| -> f64 {
        let each = noisy.iter().map(|z| {
            let p: f64 = z.iter().zip(text).map(|(z, x)| q(*z, *x, t)).product();
            if p == 0.0 {
                return 0.0;
            }
            let rows = answers(z, t);
            p * z.iter().zip(text).zip(&rows).map(|((z, x), row)| cost(*z, *x, row)).sum::<f64>()
        });
        each.sum()
    };
    let (low, high, points) = (1e-4, 1.0 - 1e-4, 400);
    let mut path = 0.0;
    for point in 0..points {
        // Finer near the ends: t = low (high / low)^u for the lower half would do; a square does for both.
        let u = (f64::from(point) + 0.5) / f64::from(points);
        let (t, slope) = (low + (high - low) * u * u * (3.0 - 2.0 * u), (high - low) * 6.0 * u * (1.0 - u));
        let cost = |z: Token, x: Token, row: &[f64]| {
            let h = 1e-6;
            // The rate at which z arrives, from finite differences of the marginals.
            let n = |t: f64| noise.noise_at(noise.marginal(t), z);
            let alpha = |t: f64| noise.marginal(t).alpha;
            let rate = (n(t + h) - n(t - h)) / (2.0 * h) - (alpha(t + h) - alpha(t - h)) / (2.0 * h) / alpha(t) * n(t);
            let model = |v: Token| {
                let now = noise.marginal(t);
                now.alpha * row[v as usize] + noise.noise_at(now, v)
            };
            let kl: f64 = (0..tokens as Token)
                .filter(|v| q(*v, x, t) > 0.0)
                .map(|v| q(v, x, t) * (q(v, x, t) / model(v)).ln())
                .sum();
            let r = q(z, x, t) / model(z);
            if rate.abs() < 1e-9 { 0.0 } else { rate / q(z, x, t) * (kl + r - 1.0 - r.ln()) }
        };
        path += mean_over(t, &cost) * slope / f64::from(points);
    }
    let start = mean_over(low, &|z, x, row| {
        let posterior = |v: Token| row[v as usize] * q(z, v, low);
        -(posterior(x) / (0..words as Token).map(posterior).sum::<f64>()).ln()
    });
    let prior: f64 = (0..tokens as Token)
        .map(|v| {
            let mean = (0..words as Token).map(|x| q(v, x, high)).sum::<f64>() / words as f64;
            let own = q(v, text[0], high);
            if own > 0.0 { own * (own / mean).ln() } else { 0.0 }
        })
        .sum();
    path + start + prior * text.len() as f64
}

#[test]
fn it_is_the_definition_by_brute_force() {
    for noise in noises(2) {
        let model = Tempered::new(table(2, 2).under(Arc::clone(&noise)), 0.4, None);
        for text in [[0, 1], [1, 1]] {
            let expected = by_definition(&model, noise.as_ref(), &text, 2);
            let found = bound(&model, noise.as_ref(), &text, 8000, 11);
            let within = 4.0 * found.standard_error.unwrap() + 0.003;
            assert!((found.nats - expected).abs() < within, "{}: {found:?} for {expected}", noise.name());
        }
    }
}

#[test]
fn under_masked_noise_it_is_the_masked_bound() {
    let noise = noises(2).remove(0);
    let masked = Tempered::new(table(2, 4), 0.5, None);
    let timed = Tempered::new(table(2, 4).under(Arc::clone(&noise)), 0.5, None);
    let text: [Token; 4] = [1, 0, 0, 1];
    let expected = exhaustive_bound(&masked, &[], &text).unwrap().nats;
    let found = bound(&timed, noise.as_ref(), &text, 6000, 7);
    assert!((found.nats - expected).abs() < 5.0 * found.standard_error.unwrap() + CUT, "{found:?} for {expected}");
}

#[test]
fn standard_errors_are_honest() {
    for noise in noises(2) {
        let model = Tempered::new(table(2, 3).under(Arc::clone(&noise)), 0.6, None);
        let found: Vec<_> = (0..300).map(|seed| bound(&model, noise.as_ref(), &[0, 1, 1], 32, seed)).collect();
        let values: Vec<_> = found.iter().map(|estimate| estimate.nats).collect();
        let center = mean(&values);
        let spread = mean(&values.iter().map(|value| (value - center).powi(2)).collect::<Vec<_>>()).sqrt();
        let claimed = mean(&found.iter().map(|e| e.standard_error.unwrap().powi(2)).collect::<Vec<_>>()).sqrt();
        assert!((claimed / spread - 1.0).abs() < 0.3, "{}: {claimed} for {spread}", noise.name());
    }
    let noise = noises(2).remove(1);
    let model = table(2, 3).under(Arc::clone(&noise));
    assert!(bound(&model, noise.as_ref(), &[0, 1, 1], 1, 0).standard_error.is_none());
}

/// Answers p(x_0 | x_t), the held token weighed in, as a model trained by plain cross-entropy does.
struct Weighed {
    inner: Table,
    noise: Arc<dyn Noise>,
    info: DenoiserInfo,
}

impl Denoiser for Weighed {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        self.inner.prefill(prefix)
    }

    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()> {
        self.inner.extend(context, tokens)
    }

    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        let plain = self.inner.denoise(input, context)?;
        let plain = plain.as_any().downcast_ref::<Logits>().unwrap();
        let now = self.noise.marginal(input.time);
        let mut logits = Vec::new();
        for (row, held) in input.state.tokens()?.iter().enumerate() {
            for (token, logit) in plain.row(row).iter().enumerate() {
                let own = if token == *held as usize { now.alpha } else { 0.0 };
                logits.push(logit + (own + self.noise.noise_at(now, *held)).ln() as f32);
            }
        }
        Ok(Box::new(Logits::new(logits, plain.vocabulary())?))
    }
}

#[test]
fn a_prediction_that_weighs_the_held_token_has_the_same_bound() {
    let noise = noises(2).remove(1);
    let inner = table(2, 3).under(Arc::clone(&noise));
    let info = DenoiserInfo { weighs_held: true, ..inner.info().clone() };
    let weighed = Weighed { inner: inner.clone(), noise: Arc::clone(&noise), info };
    let text = [1, 0, 1];
    let (plain, found) = (bound(&inner, noise.as_ref(), &text, 64, 2), bound(&weighed, noise.as_ref(), &text, 64, 2));
    assert!((plain.nats - found.nats).abs() < 1e-3, "{plain:?} {found:?}");
}
