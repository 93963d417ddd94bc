//! Random remasking: the cells that are written are chosen uniformly, the number per step is fixed in advance.
//!
//! LLaDA, Nie et al. 2025 (arXiv 2502.09992), section 2.4; reference: ML-GSAI/LLaDA `generate.py`, `remasking='random'`.
//! With one cell a step it has the law of `first_hitting` without its times.
//!
//! Deviations: those of `low_confidence`.

use super::quota::QuotaRun;
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{BlockSampler, BlockStart, Sampler};
use crate::registry::Kind;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "random",
    aliases: &[],
    presets: &[],
    summary: "writes a fixed number of uniformly chosen cells each step",
    paper: "LLaDA, Nie et al. 2025, arXiv 2502.09992",
    parameters: RandomConfig::PARAMETERS,
    build: |values| Ok(Box::new(Random(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`Random`].
    RandomConfig {
        steps: usize = 32 => "32", Kind::Integer { min: 1 }, "steps in total, shared by the blocks of a canvas";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Random(pub RandomConfig);

impl Sampler for Random {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(QuotaRun::new(Rank::Random, self.0.steps, block))
    }
}
