//! The loss of hybrid noise: the closed form of the bound, weighted as the bound asks or more evenly.
//!
//! GIDD, von Rütte et al. 2025 (arXiv 2503.04482), theorem 1 and section 3.4; reference: dvruette/gidd `loss.py`. Weights:
//!
//! * `elbo`: those of the bound. They grow without end at clean cells as t goes to 0. Only this one is a bound.
//! * `clip`: those of the bound, cut to [`min_weight`, `max_weight`].
//! * `dynamic`: 2 at masks, 1 at other noise, (B / N) e^(lambda / 2) at clean cells with lambda = ln(alpha / (1 - alpha)) cut to
//!   +-20, all of them cut to the same range. B is the scale of the hybrid noise, N its number of tokens.
//!
//! Deviation: `compat = "reference"` has sigmoid(-t) for lambda and V for N, which makes the clean cells' weight nearly
//! constant. The settings' defaults are those of the reference.

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use lldm_diffusion::noise::P_UNIFORM;
use lldm_diffusion::registry::{Kind, Parameter};
use lldm_diffusion::{Compat, Noise, StepRng};
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};

use super::closed_form::NoisedCell;
use super::elbo::{Elbo, check, weighted};
use super::loss::{Loss, Measures, Objective, Rows};
use super::registry::Spec;
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "gidd",
    aliases: &["hybrid"],
    presets: &[],
    summary: "tokens become masks and uniform draws; a bound with `elbo` weights",
    paper: "GIDD, von Rütte et al. 2025, arXiv 2503.04482",
    parameters: &[
        P_UNIFORM,
        Parameter {
            name: "weighting",
            kind: Kind::Choice(&["elbo", "clip", "dynamic"]),
            default: "\"dynamic\"",
            help: "the weights: of the bound, of the bound but cut, or nearly even",
        },
        Parameter {
            name: "min_weight",
            kind: Kind::Number { min: 0.0, max: f64::INFINITY },
            default: "0.0",
            help: "the smallest weight, unless they are the bound's",
        },
        Parameter {
            name: "max_weight",
            kind: Kind::Number { min: 1e-3, max: f64::INFINITY },
            default: "2.0",
            help: "the largest weight, unless they are the bound's",
        },
        Parameter {
            name: "compat",
            kind: Kind::Choice(&["exact", "reference"]),
            default: "\"exact\"",
            help: "whether `dynamic` means the signal-to-noise ratio, or what the reference has for it",
        },
    ],
    build: |values| Ok(Box::new(Gidd(serde_json::from_value(values)?))),
};

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GiddConfig {
    /// The share of uniform noise at t = 1/2.
    pub p_uniform: f64,
    /// The weights.
    pub weighting: Weighting,
    /// The smallest weight, unless they are the bound's.
    pub min_weight: f64,
    /// The largest weight, unless they are the bound's.
    pub max_weight: f64,
    /// Whether `dynamic` is what is meant or what the reference does.
    pub compat: Compat,
}

/// How cells are weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// As the bound asks.
    Elbo,
    /// As the bound asks, cut.
    Clip,
    /// By the kind of the cell.
    #[default]
    Dynamic,
}

/// The objective.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gidd(pub GiddConfig);

impl Default for GiddConfig {
    fn default() -> Self {
        Self {
            p_uniform: 0.1,
            weighting: Weighting::default(),
            min_weight: 0.0,
            max_weight: 2.0,
            compat: Compat::default(),
        }
    }
}

impl Gidd {
    /// The weight of a cell; `noise` is the hybrid noise of these settings.
    pub fn weight(&self, noise: &dyn Noise, cell: &NoisedCell) -> f64 {
        let (low, high) = (self.0.min_weight, self.0.max_weight.max(self.0.min_weight));
        match self.0.weighting {
            Weighting::Elbo => noise.bound_weight(cell.held, cell.clean, cell.time),
            Weighting::Clip => noise.bound_weight(cell.held, cell.clean, cell.time).clamp(low, high),
            Weighting::Dynamic if cell.held == cell.clean => self.clean_weight(noise, cell.time).clamp(low, high),
            Weighting::Dynamic if noise.mask() == Some(cell.held) => 2f64.clamp(low, high),
            Weighting::Dynamic => 1f64.clamp(low, high),
        }
    }

    fn clean_weight(&self, noise: &dyn Noise, t: f64) -> f64 {
        let alpha = noise.marginal(t).alpha;
        let tokens = noise.alphabet().map_or(1, |alphabet| alphabet.len()) as f64;
        let (log_snr, tokens) = match self.0.compat {
            Compat::Exact => ((alpha / (1.0 - alpha)).ln(), tokens),
            Compat::Reference => (1.0 / (1.0 + t.exp()), tokens + 1.0),
        };
        let scale = 2.0 * self.0.p_uniform / (1.0 - self.0.p_uniform);
        scale / tokens * (log_snr.clamp(-20.0, 20.0) / 2.0).exp()
    }
}

impl Objective for Gidd {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::Full
    }

    fn noise(&self) -> NoiseConfig {
        let parameters = Map::from_iter([("p_uniform".to_string(), json!(self.0.p_uniform))]);
        NoiseConfig { name: "hybrid".to_string(), parameters }
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn measures(&self) -> Measures {
        if self.0.weighting == Weighting::Elbo { Measures::Bound } else { Measures::Neither }
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        check(self, trunk)?;
        weighted(trunk, rows, None, rng, |noise, cell| self.weight(noise, cell))
    }

    fn remainder(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<f64> {
        if self.measures() == Measures::Neither {
            return Ok(0.0);
        }
        Elbo { noise: self.noise(), answers: Answers::Clean, block_length: None }.remainder(trunk, rows, rng)
    }
}
