//! Remasking: the reverse step of masked noise, in which a written token may become noise again.
//!
//! ReMDM, Wang et al. 2025 (arXiv 2503.00307), equations 4 to 9; reference: kuleshov-group/remdm `diffusion.py`. A token is
//! taken back with probability sigma; a mask is written with (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t). The marginals
//! stay those of the forward process for every sigma up to sigma_max = min(1, (1 - alpha_s) / alpha_t).
//!
//! - `cap`: sigma = min(eta, sigma_max). `rescale`: eta sigma_max.
//! - `conf`: sigma_max times the softmax of minus the probability that each token had when it was written.
//! - `loop`: plain steps down to t_on, there alpha is held at alpha_on and sigma is eta until t_off, plain steps to the end.
//! - `forward_backward`: sigma = (alpha_s - alpha_t) / alpha_t (DFM's forward-backward sampler, section 4.3).
//!
//! Deviations: the last step goes to s = 0 and draws, where the reference stops at 1e-5 and takes an argmax of all cells.
//! No sigma goes beyond sigma_max; in the reference that of `forward_backward` does in the last step and takes masks of
//! negative probability. A step of `loop` that crosses t_on ends there; in the reference its alpha runs past the alpha that
//! is held next. Both are kept under `compat = "reference"`. On noise without a mask the token taken back is a fresh draw of
//! the prior.

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Reads, Sampler, StepTimes, StepView};
use super::transition::{Settle, draw};
use crate::canvas::Cell;
use crate::contract::{Compat, Statistics};
use crate::noise::{Mixture, Noise};
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "remdm",
    aliases: &["remasking"],
    presets: &[
        ("remdm_cap", &[("strategy", "\"cap\"")]),
        ("remdm_rescale", &[("strategy", "\"rescale\"")]),
        ("remdm_conf", &[("strategy", "\"conf\"")]),
        ("remdm_loop", &[("strategy", "\"loop\"")]),
    ],
    summary: "draws from the reverse posterior, and takes some written tokens back",
    paper: "ReMDM, Wang et al. 2025, arXiv 2503.00307",
    parameters: RemdmConfig::PARAMETERS,
    build: |values| {
        let config: RemdmConfig = serde_json::from_value(values)?;
        check_window(config.t_on, config.t_off)?;
        Ok(Box::new(Remdm(config)))
    },
};

const TIME: Kind = Kind::Number { min: 0.01, max: 0.99 };

settings! {
    /// The settings of [`Remdm`].
    RemdmConfig {
        steps: usize = 64 => "64", Kind::Integer { min: 1 }, "time steps T for each block";
        strategy: Strategy = Strategy::Cap => "\"cap\"", Kind::Choice(&["cap", "rescale", "conf", "loop", "forward_backward"]), "how the chance of being taken back is set";
        eta: f64 = 0.02 => "0.02", Kind::Number { min: 0.0, max: 1.0 }, "the chance of being taken back per step: its ceiling (cap), its share of the largest (rescale), itself (loop)";
        t_on: f64 = 0.55 => "0.55", TIME, "loop: the time from which alpha is held";
        t_off: f64 = 0.05 => "0.05", TIME, "loop: the time until which alpha is held";
        alpha_on: f64 = 0.9 => "0.9", TIME, "loop: the alpha that is held";
    }
}

/// Refuses a window that ends before it begins.
pub(super) fn check_window(t_on: f64, t_off: f64) -> serde_json::Result<()> {
    let message = || format!("`t_off` is {t_off}, but must not lie above `t_on`, {t_on}: time runs from 1 to 0");
    if t_off > t_on { Err(serde::de::Error::custom(message())) } else { Ok(()) }
}

/// How sigma is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// min(eta, sigma_max).
    #[default]
    Cap,
    /// eta sigma_max.
    Rescale,
    /// sigma_max times a softmax over minus the confidences.
    Conf,
    /// eta while alpha is held, else 0.
    Loop,
    /// (alpha_s - alpha_t) / alpha_t.
    ForwardBackward,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Remdm(pub RemdmConfig);

/// A step as the marginals see it, and how far it takes written tokens back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remasking {
    /// alpha at the start of the step.
    pub alpha_t: f64,
    /// alpha at its end.
    pub alpha_s: f64,
    /// sigma, before `conf` shares it out.
    pub sigma: f64,
}

#[derive(Clone)]
struct Run {
    config: RemdmConfig,
    compat: Compat,
    step: usize,
    /// The probability that each token had when it was written, by cell.
    confidences: Vec<Option<f64>>,
}

impl RemdmConfig {
    /// The step from t to s of a process that keeps `alpha`.
    pub fn remasking(&self, alpha: impl Fn(f64) -> f64, t: f64, s: f64, compat: Compat) -> Remasking {
        let (t_on, t_off, on) = (self.t_on, self.t_off, self.alpha_on);
        if self.strategy == Strategy::Loop {
            let early = |t: f64| (1.0 - t) * on / (1.0 - t_on);
            let late = |t: f64| 1.0 - t * (1.0 - on) / t_off;
            // The step that crosses t_off ends on the late line: with few steps it may be the last.
            let held = match compat {
                _ if s <= 0.0 => 1.0,
                Compat::Exact if s < t_off => late(s),
                Compat::Exact | Compat::Reference => on,
            };
            let end = if compat == Compat::Reference { s } else { s.max(t_on) };
            return match () {
                () if t > t_on => Remasking { alpha_t: early(t), alpha_s: early(end), sigma: 0.0 },
                () if t <= t_off => Remasking { alpha_t: late(t), alpha_s: late(s), sigma: 0.0 },
                () => Remasking { alpha_t: on, alpha_s: held, sigma: self.eta.min((1.0 - held) / on) },
            };
        }
        let (alpha_t, alpha_s) = (alpha(t), if s <= 0.0 { 1.0 } else { alpha(s) });
        let most = if alpha_t > 0.0 { ((1.0 - alpha_s) / alpha_t).min(1.0) } else { 1.0 };
        let sigma = match self.strategy {
            Strategy::Cap => self.eta.min(most),
            Strategy::Rescale => self.eta * most,
            Strategy::Conf => most,
            Strategy::ForwardBackward if alpha_t > 0.0 => {
                let sigma = (alpha_s - alpha_t) / alpha_t;
                if compat == Compat::Reference { sigma } else { sigma.min(most) }
            }
            Strategy::ForwardBackward => most,
            Strategy::Loop => 0.0,
        };
        Remasking { alpha_t, alpha_s, sigma }
    }
}

impl Remasking {
    /// sigma for each cell: shared out by a softmax over minus the confidences, none for noise.
    pub fn shared(&self, confidences: &[Option<f64>]) -> Vec<f64> {
        let total: f64 = confidences.iter().flatten().map(|confidence| (-confidence).exp()).sum();
        confidences.iter().map(|c| c.map_or(0.0, |confidence| self.sigma * (-confidence).exp() / total)).collect()
    }

    /// The step of a cell that is noise, or written, under its own sigma.
    pub fn mixture(&self, written: bool, sigma: f64) -> Mixture {
        let Self { alpha_t, alpha_s, .. } = *self;
        if written {
            return Mixture { mask: sigma, keep: 1.0 - sigma, draw: 0.0, uniform: 0.0 };
        }
        // Above 1 only where sigma is above sigma_max.
        let draw = ((alpha_s - (1.0 - sigma) * alpha_t) / (1.0 - alpha_t)).max(0.0);
        Mixture { draw, mask: 1.0 - draw, keep: 0.0, uniform: 0.0 }
    }
}

impl Sampler for Remdm {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, compat: block.compat, step: 0, confidences: Vec::new() })
    }

    fn reads(&self, _: &dyn Noise) -> Reads {
        Reads::Open
    }

    fn drops_crossing(&self, _: &dyn Noise) -> bool {
        true
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        StepTimes::grid(self.step, self.config.steps)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        self.step += 1;
        self.confidences.resize(view.canvas.len(), None);
        let mixtures = self.mixtures(view).unwrap_or_default();
        let settle = if view.times.s <= 0.0 { Settle::Commit } else { Settle::Draft };
        let actions = draw(view, &mixtures, settle);
        for (at, action) in &actions {
            self.confidences[*at] = match action {
                Action::Renoise => None,
                Action::Commit(token) | Action::Draft(token) => {
                    let cell = view.proposals.iter().find(|cell| cell.position == *at && cell.proposal.token == *token);
                    cell.map(|cell| cell.proposal.probability).or(self.confidences[*at])
                }
            };
        }
        actions
    }

    fn mixtures(&self, view: &StepView<'_>) -> Option<Vec<Mixture>> {
        let alpha = |t| view.noise.marginal(t).alpha;
        let remasking = self.config.remasking(alpha, view.times.t, view.times.s, self.compat);
        let shared = match self.config.strategy {
            Strategy::Conf => remasking.shared(&self.confidences),
            _ => vec![remasking.sigma; view.canvas.len()],
        };
        let mixture = |at: usize| {
            // A cell of unmarked noise counts as written once a step has drawn it.
            let written = view.canvas.cells()[at] == Cell::Draft;
            // The chance to write a mask goes with the sigma of the whole step, or none where it is shared out.
            let sigma = match (self.config.strategy, written) {
                (Strategy::Conf, false) => 0.0,
                _ => shared.get(at).copied().unwrap_or(0.0),
            };
            remasking.mixture(written, sigma)
        };
        Some(view.proposals.iter().map(|cell| mixture(cell.position)).collect())
    }
}
