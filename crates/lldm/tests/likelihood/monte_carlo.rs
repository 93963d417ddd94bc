//! The bound of any noise by Monte Carlo.
//!
//! With the exact conditionals the reverse process is the true one, and the bound is tight: it equals -ln p of the table, up
//! to the cut at the ends of the time. That needs no formula of ours.

use std::sync::Arc;

use lldm::likelihood::{Estimate, Kind, MonteCarloConfig, exhaustive_bound, monte_carlo_bound};
use lldm_diffusion::noise::registry::{ALL, Space, build};
use lldm_diffusion::toy::Table;
use lldm_diffusion::{Context, Denoiser, DenoiserInfo, Logits, Noise, Prediction, Result, StepInput, Token};
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
