//! Low-confidence remasking: of all predictions only the surest are written; the others stay masked.
//!
//! LLaDA, Nie et al. 2025 (arXiv 2502.09992), algorithm 5; reference: ML-GSAI/LLaDA `generate.py`. The number of cells
//! per step is fixed in advance; confidence is the probability of the drawn token, taken before temperature and noise.
//!
//! Deviations: the mask is never predicted (in the reference an argmax on the mask uses up quota and leaves masks in
//! the text); steps without quota are skipped instead of costing a forward pass; `steps` that the number of blocks does
//! not divide are spread over the first blocks instead of being refused.

use super::quota::QuotaRun;
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{BlockSampler, BlockStart, Sampler};
use crate::registry::Kind;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "low_confidence",
    aliases: &["llada"],
    presets: &[],
    summary: "writes a fixed number of the surest predictions each step",
    paper: "LLaDA, Nie et al. 2025, arXiv 2502.09992",
    parameters: LowConfidenceConfig::PARAMETERS,
    build: |values| Ok(Box::new(LowConfidence(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`LowConfidence`].
    LowConfidenceConfig {
        steps: usize = 32 => "32", Kind::Integer { min: 1 }, "steps in total, shared by the blocks of a canvas";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LowConfidence(pub LowConfidenceConfig);

impl Sampler for LowConfidence {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(QuotaRun::new(Rank::Probability, self.0.steps, block))
    }
}
