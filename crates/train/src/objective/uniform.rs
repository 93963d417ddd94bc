//! The bound of uniform noise: every cell is scored, for nothing marks those that are noise.
//!
//! UDLM (Schiff et al. 2024, arXiv 2412.10193, equation 18), Duo's base loss (Sahoo et al. 2025, arXiv 2506.10892); the maths
//! and the deviations stand in [`super::closed_form`]. The mask of the vocabulary takes no part: it is neither noise nor text.

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use lldm_diffusion::StepRng;
use lldm_diffusion::noise::registry::SCHEDULE;
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};

use super::elbo::Elbo;
use super::loss::{Loss, Measures, Objective, Rows};
use super::registry::Spec;
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "uniform",
    aliases: &["udlm", "duo"],
    presets: &[],
    summary: "tokens become uniform draws, all cells are predicted; a bound",
    paper: "UDLM, Schiff et al. 2024, arXiv 2412.10193",
    parameters: &[SCHEDULE],
    build: |values| Ok(Box::new(Uniform(serde_json::from_value(values)?))),
};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UniformConfig {
    /// The name of the noise schedule.
    pub schedule: String,
}

/// The objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Uniform(pub UniformConfig);

impl Default for UniformConfig {
    fn default() -> Self {
        Self { schedule: "linear".to_string() }
    }
}

impl Uniform {
    fn elbo(&self) -> Elbo {
        Elbo { noise: self.noise(), answers: Answers::Clean, block_length: None }
    }
}

impl Objective for Uniform {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::Full
    }

    fn noise(&self) -> NoiseConfig {
        uniform_noise(&self.0.schedule)
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn measures(&self) -> Measures {
        Measures::Bound
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        self.elbo().loss(trunk, rows, rng)
    }

    fn remainder(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<f64> {
        self.elbo().remainder(trunk, rows, rng)
    }
}

/// Uniform noise on the schedule of that name.
pub(super) fn uniform_noise(schedule: &str) -> NoiseConfig {
    let parameters = Map::from_iter([("schedule".to_string(), json!(schedule))]);
    NoiseConfig { name: "uniform".to_string(), parameters }
}
