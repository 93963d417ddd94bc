//! The bound of uniform noise block by block, given the clean blocks before, all blocks in one pass.
//!
//! BD3-LM's factorisation and mask of three parts (Arriola et al. 2025, arXiv 2503.09573, section 3) with the noise of UDLM
//! (Schiff et al. 2024, arXiv 2412.10193). Each block has a time of its own, stratified over blocks and rows; the clean half
//! has the time 0.

use serde::{Deserialize, Serialize};

use lldm_diffusion::StepRng;
use lldm_diffusion::noise::registry::SCHEDULE;
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};

use super::block::BLOCK_LENGTH;
use super::elbo::Elbo;
use super::loss::{Loss, Measures, Objective, Rows};
use super::registry::Spec;
use super::uniform::uniform_noise;
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "uniform_block",
    aliases: &[],
    presets: &[],
    summary: "the uniform bound of each block given the clean blocks before",
    paper: "BD3-LM, Arriola et al. 2025, arXiv 2503.09573, with UDLM's noise, arXiv 2412.10193",
    parameters: &[BLOCK_LENGTH, SCHEDULE],
    build: |values| Ok(Box::new(UniformBlock(serde_json::from_value(values)?))),
};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UniformBlockConfig {
    /// Cells of a block.
    pub block_length: usize,
    /// The name of the noise schedule.
    pub schedule: String,
}

/// The objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UniformBlock(pub UniformBlockConfig);

impl Default for UniformBlockConfig {
    fn default() -> Self {
        Self { block_length: 4, schedule: "linear".to_string() }
    }
}

impl UniformBlock {
    fn elbo(&self) -> Elbo {
        Elbo { noise: self.noise(), answers: Answers::Clean, block_length: Some(self.0.block_length) }
    }
}

impl Objective for UniformBlock {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::BlockCausal
    }

    fn block_length(&self) -> Option<usize> {
        Some(self.0.block_length)
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
