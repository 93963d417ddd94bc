//! Psi-samplers: each step mixes the reverse posterior with a prediction that is noised again.
//!
//! Deschenaux et al. 2026 (arXiv 2602.21185, "The Diffusion Duality, Chapter II"); reference: s-sahoo/duo `trainer_base.py`
//! (`_psi_update`). From t to s a cell is drawn from kappa q(x_s | x_t) + (1 - kappa) q(x_s | x_0) with x_0 ~ q(x_0 | x_t), so
//! that tokens of every noise can still change late. ReMDM is the case of masked noise with kappa = 1 - sigma / (1 - alpha_s).
//!
//! - `constant`: kappa itself.
//! - `remdm`: sigma = eta. `cap`: sigma = min(eta, (1 - alpha_s) / alpha_t). `rescale`: eta min(1, (1 - alpha_s) / alpha_t).
//!
//! The strategy holds for steps that start between `t_on` and `t_off`; the others draw from the posterior alone.
//!
//! Deviations: the steps go from 1 to 0, where the reference stops at 1e-5 and adds a step; time does not stand still at
//! `t_on` (its profile `linear-constant-linear`); one strategy for the whole run, where the reference has three sections and
//! leaves the last step of each to the posterior; `rescale` is that of ReMDM, the reference has eta min(eta, ...) (kept under
//! `compat = "reference"`).

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::remdm::check_window;
use super::reverse::{Action, BlockSampler, BlockStart, Reads, Sampler, StepTimes, StepView};
use super::transition::{Settle, draw, held_probability};
use crate::contract::{Compat, Statistics};
use crate::noise::{Marginal, Mixture, Noise};
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "psi",
    aliases: &["predictor_corrector"],
    presets: &[],
    summary: "mixes the reverse posterior with a prediction that is noised again",
    paper: "Psi-samplers, Deschenaux et al. 2026, arXiv 2602.21185",
    parameters: PsiConfig::PARAMETERS,
    build: |values| {
        let config: PsiConfig = serde_json::from_value(values)?;
        check_window(config.t_on, config.t_off)?;
        Ok(Box::new(Psi(config)))
    },
};

const SHARE: Kind = Kind::Number { min: 0.0, max: 1.0 };

settings! {
    /// The settings of [`Psi`].
    PsiConfig {
        steps: usize = 64 => "64", Kind::Integer { min: 1 }, "time steps T for each block";
        strategy: PsiStrategy = PsiStrategy::Cap => "\"cap\"", Kind::Choice(&["constant", "remdm", "cap", "rescale"]), "how the share of the posterior is set";
        kappa: f64 = 0.95 => "0.95", SHARE, "constant: the share of the posterior";
        eta: f64 = 0.01 => "0.01", SHARE, "the chance of new noise per step: itself (remdm), its ceiling (cap), its share of the largest (rescale)";
        t_on: f64 = 1.0 => "1.0", SHARE, "the time from which the strategy holds";
        t_off: f64 = 0.0 => "0.0", SHARE, "the time until which the strategy holds";
    }
}

/// How kappa is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PsiStrategy {
    /// It is given.
    Constant,
    /// sigma = eta.
    Remdm,
    /// sigma = min(eta, sigma_max).
    #[default]
    Cap,
    /// sigma = eta sigma_max.
    Rescale,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Psi(pub PsiConfig);

#[derive(Clone)]
struct Run {
    config: PsiConfig,
    compat: Compat,
    step: usize,
}

impl PsiConfig {
    /// The share of the posterior in the step from t to s, of a process that keeps `alpha_t` and `alpha_s`.
    pub fn posterior_share(&self, t: f64, alpha_t: f64, alpha_s: f64, compat: Compat) -> f64 {
        if t > self.t_on || t <= self.t_off {
            return 1.0;
        }
        let most = if alpha_t > 0.0 { (1.0 - alpha_s) / alpha_t } else { f64::INFINITY };
        let sigma = match self.strategy {
            PsiStrategy::Constant => return self.kappa,
            PsiStrategy::Remdm => self.eta,
            PsiStrategy::Cap => most.min(self.eta),
            PsiStrategy::Rescale if compat == Compat::Reference && alpha_t > 0.0 => self.eta * most.min(self.eta),
            PsiStrategy::Rescale => self.eta * most.min(1.0),
        };
        // Without noise at s there is nothing to renew.
        if alpha_s < 1.0 { (1.0 - sigma / (1.0 - alpha_s)).clamp(0.0, 1.0) } else { 1.0 }
    }
}

impl Sampler for Psi {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, compat: block.compat, step: 0 })
    }

    fn reads(&self, _: &dyn Noise) -> Reads {
        Reads::Open
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
        let mixtures = self.mixtures(view).unwrap_or_default();
        draw(view, &mixtures, if view.times.s <= 0.0 { Settle::Commit } else { Settle::Draft })
    }

    fn mixtures(&self, view: &StepView<'_>) -> Option<Vec<Mixture>> {
        let StepTimes { t, s, .. } = view.times;
        let past = match s <= 0.0 {
            true => Marginal { alpha: 1.0, mask: 0.0, uniform: 0.0 },
            false => view.noise.marginal(s),
        };
        let kappa = self.config.posterior_share(t, view.noise.marginal(t).alpha, past.alpha, self.compat);
        let cells = view.proposals.iter().map(|cell| {
            let held = view.canvas.tokens()[cell.position];
            let held_probability = held_probability(view, cell);
            let clean = view.noise.reverse(held, held_probability, 0.0, t).scaled(past.alpha);
            let renewed = Mixture { uniform: clean.uniform + past.uniform, mask: clean.mask + past.mask, ..clean };
            view.noise.reverse(held, held_probability, s, t).scaled(kappa).plus(renewed.scaled(1.0 - kappa))
        });
        Some(cells.collect())
    }
}
