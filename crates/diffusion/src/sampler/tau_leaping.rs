//! Tau-leaping: steps of the reverse-time Markov chain, as Euler steps of its rates or by the analytic transition.
//!
//! SEDD, Lou et al. 2024 (arXiv 2310.16834), section 4.2 and algorithms 2 and 3; reference:
//! louaaron/Score-Entropy-Discrete-Diffusion `sampling.py`. With the ratios q_theta(y) / q_theta(x) of the marginals an
//! Euler step from x goes to y with probability dt R_t(y -> x) q_theta(y) / q_theta(x), where R_t(y -> x) is the forward
//! rate. The analytic step (Tweedie's) is the posterior itself. The times go from 1 to 1e-5; a last pass removes what noise
//! is left by the analytic step to s = 0.
//!
//! The ratios are built from the prediction of the clean token, so that any model can be sampled this way, one that learnt
//! the ratios too. Deviation: where a step is so large that it would leave a token with less than no probability, it has none.

use serde::{Deserialize, Serialize};

use super::ancestral::STEPS;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Reads, Sampler, StepTimes, StepView};
use super::transition::{Settle, draw, held_probability, posteriors};
use crate::canvas::Token;
use crate::contract::Statistics;
use crate::noise::{Mixture, Noise};
use crate::registry::{Kind, Parameter};
use crate::rng::StepRng;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "tau_leaping",
    aliases: &["sedd", "euler", "analytic"],
    summary: "steps along the rates of the reverse process (Euler), or by its exact transition (analytic)",
    paper: "SEDD, Lou et al. 2024, arXiv 2310.16834",
    parameters: &[
        STEPS,
        Parameter {
            name: "method",
            kind: Kind::Choice(&["euler", "analytic"]),
            default: "\"analytic\"",
            help: "how a step is made",
        },
    ],
    build: |values| Ok(Box::new(TauLeaping(serde_json::from_value(values)?))),
};

/// Where the steps end and the last pass begins.
const LAST_TIME: f64 = 1e-5;

/// The settings of [`TauLeaping`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TauLeapingConfig {
    /// Time steps T for each block.
    pub steps: usize,
    /// How a step is made.
    pub method: Method,
}

/// How a step is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A step along the rates.
    Euler,
    /// The exact transition for a prediction that is held fixed.
    #[default]
    Analytic,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TauLeaping(pub TauLeapingConfig);

struct Run {
    config: TauLeapingConfig,
    step: usize,
}

impl Default for TauLeapingConfig {
    fn default() -> Self {
        Self { steps: 64, method: Method::Analytic }
    }
}

/// The Euler step from t to s of a cell that holds `held`, to which the prediction gives `held_probability`. `keep` is less
/// than nothing where the step is too large.
pub fn euler_step(noise: &dyn Noise, held: Token, held_probability: f64, s: f64, t: f64) -> Mixture {
    let (now, arrival) = (noise.marginal(t), noise.arrival_rate(held, t));
    let seen = now.alpha * held_probability + noise.noise_at(now, held);
    if arrival <= 0.0 || seen <= 0.0 {
        return Mixture::KEEP;
    }
    let step = (t - s) * arrival / seen;
    Mixture { keep: 1.0 - step, draw: step * now.alpha, uniform: step * now.uniform, mask: step * now.mask }
}

impl Sampler for TauLeaping {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, step: 0 })
    }

    fn reads(&self, noise: &dyn Noise) -> Reads {
        // A token behind a mask never changes again.
        if noise.alphabet().is_some() { Reads::Open } else { Reads::Noisy }
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        let steps = self.config.steps.max(1);
        if self.step >= steps {
            return StepTimes::new(LAST_TIME, 0.0);
        }
        let at = |step: usize| 1.0 - (1.0 - LAST_TIME) * step as f64 / steps as f64;
        StepTimes::new(at(self.step), at(self.step + 1))
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        self.step += 1;
        // A token behind a mask never changes again.
        let settled = view.times.s <= 0.0 || view.noise.alphabet().is_none();
        let mixtures = self.mixtures(view).unwrap_or_default();
        draw(view, &mixtures, if settled { Settle::Commit } else { Settle::Draft })
    }

    fn mixtures(&self, view: &StepView<'_>) -> Option<Vec<Mixture>> {
        if self.config.method == Method::Analytic || view.times.s <= 0.0 {
            return Some(posteriors(view));
        }
        let cells = view.proposals.iter().map(|cell| {
            let held = view.canvas.tokens()[cell.position];
            euler_step(view.noise, held, held_probability(view, cell), view.times.s, view.times.t)
        });
        Some(cells.collect())
    }
}
