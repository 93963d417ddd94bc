//! Confidence threshold: everything that is sure enough is written at once, and always the surest cell.
//!
//! Fast-dLLM, Wu et al. 2025 (arXiv 2505.22618), section 3.3; reference: NVlabs/Fast-dLLM `llada/generate.py`. A cell is
//! sure enough when the probability of its token is at least the threshold. dInfer (inclusionAI/dInfer
//! `parallel_strategy.py`) has the same rule with a slack of 1e-5 around the surest cell, and with its caches one that writes
//! a `minimum` of the surest cells in any case (`minimal_topk`).
//!
//! Deviation: the mask is never predicted (in the reference an argmax on the mask keeps the loop from ending).

use super::commit::{commit, sure};
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView};
use crate::registry::Kind;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "threshold",
    aliases: &["fast_dllm"],
    presets: &[],
    summary: "writes every prediction that is sure enough, and always the surest",
    paper: "Fast-dLLM, Wu et al. 2025, arXiv 2505.22618",
    parameters: ThresholdConfig::PARAMETERS,
    build: |values| Ok(Box::new(Threshold(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`Threshold`].
    ThresholdConfig {
        threshold: f64 = 0.9 => "0.9", Kind::Number { min: 0.0, max: 1.0 }, "the probability from which a cell is written";
        slack: f64 = 0.0 => "0.0", Kind::Number { min: 0.0, max: 1.0 }, "cells this near to the surest are written with it (dInfer: 0.00001)";
        minimum: usize = 1 => "1", Kind::Integer { min: 1 }, "the fewest cells written in a step, sure or not";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Threshold(pub ThresholdConfig);

#[derive(Clone)]
struct Run {
    config: ThresholdConfig,
    total: usize,
}

impl Sampler for Threshold {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, total: block.noisy })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &crate::rng::StepRng) -> StepTimes {
        StepTimes::by_count(noisy, self.total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let ranked = Rank::Probability.order(view);
        let sure = sure(&ranked, self.config.threshold, self.config.slack).max(self.config.minimum);
        commit(&ranked[..sure.min(ranked.len())])
    }
}
