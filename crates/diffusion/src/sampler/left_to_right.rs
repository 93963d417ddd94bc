//! One cell at a time from left to right: the autoregressive baseline.
//!
//! With a causal model the canvas is a single cell and the context is its cache of keys and values; block diffusion with
//! block size 1 is the same thing (BD3-LM, Arriola et al. 2025, section 3.1).

use serde::{Deserialize, Serialize};

use super::commit::commit;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "left_to_right",
    aliases: &[],
    presets: &[],
    summary: "writes one cell at a time from left to right (the autoregressive baseline)",
    paper: "BD3-LM, Arriola et al. 2025, arXiv 2503.09573, section 3.1",
    parameters: &[],
    build: |values| Ok(Box::new(LeftToRight(serde_json::from_value(values)?))),
};

/// The settings of [`LeftToRight`]: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftToRightConfig {}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LeftToRight(pub LeftToRightConfig);

#[derive(Clone)]
struct Run;

impl Sampler for LeftToRight {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run)
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &crate::rng::StepRng) -> StepTimes {
        StepTimes::new(1.0, 0.0)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        commit(&view.proposals[..view.proposals.len().min(1)])
    }
}
