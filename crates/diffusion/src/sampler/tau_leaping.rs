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

use super::ancestral::LAST_TIME;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Reads, Sampler, StepTimes, StepView};
use super::transition::{Settle, draw, held_probability, posteriors};
use crate::canvas::Token;
use crate::contract::Statistics;
use crate::noise::{Mixture, Noise};
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "tau_leaping",
    aliases: &["sedd"],
    presets: &[("euler", &[("method", "\"euler\"")]), ("analytic", &[("method", "\"analytic\"")])],
    summary: "steps along the rates of the reverse process (Euler), or by its exact transition (analytic)",
    paper: "SEDD, Lou et al. 2024, arXiv 2310.16834",
    parameters: TauLeapingConfig::PARAMETERS,
    build: |values| Ok(Box::new(TauLeaping(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`TauLeaping`].
    TauLeapingConfig {
        steps: usize = 64 => "64", Kind::Integer { min: 1 }, "time steps T for each block";
        method: Method = Method::Analytic => "\"analytic\"", Kind::Choice(&["euler", "analytic"]), "how a step is made";
    }
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

#[derive(Clone)]
struct Run {
    config: TauLeapingConfig,
    step: usize,
}

/// The Euler step from t to s of a cell that holds `held`, to which the prediction gives `held_probability`. `keep` is less
/// than nothing where the step is too large.
pub fn euler_step(noise: &dyn Noise, held: Token, held_probability: f64, s: f64, t: f64) -> Mixture {
    // At t = 1 nothing may be left of the text, and the rate has no bound: it is taken a little before.
    let at = if noise.marginal(t).alpha > 0.0 { t } else { t.min(1.0 - LAST_TIME) };
    let (now, arrival) = (noise.marginal(at), noise.arrival_rate(held, at));
    let seen = now.alpha * held_probability + noise.noise_at(now, held);
    if arrival <= 0.0 || seen <= 0.0 {
        return Mixture::KEEP;
    }
    let step = (t - s) * arrival / seen;
    let (draw, uniform, mask) = (step * now.alpha, step * now.uniform, step * now.mask);
    // A mask that becomes the mask is kept.
    let stays = if noise.mask() == Some(held) { mask } else { 0.0 };
    Mixture { keep: 1.0 - step + stays, draw, uniform, mask: mask - stays }
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
        StepTimes::grid_above(LAST_TIME, self.step, self.config.steps)
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
