//! Confidence threshold: everything that is sure enough is written at once, and always the surest cell.
//!
//! Fast-dLLM, Wu et al. 2025 (arXiv 2505.22618), section 3.3; reference: NVlabs/Fast-dLLM `llada/generate.py`. A cell is
//! sure enough when the probability of its token is at least the threshold.
//!
//! Deviation: the mask is never predicted (in the reference an argmax on the mask keeps the loop from ending).

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView, commit};
use crate::registry::{Kind, Parameter};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "threshold",
    aliases: &[],
    summary: "writes every prediction that is sure enough, and always the surest",
    paper: "Fast-dLLM, Wu et al. 2025, arXiv 2505.22618",
    parameters: &[Parameter {
        name: "threshold",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: "0.9",
        help: "the probability from which a cell is written",
    }],
    build: |values| Ok(Box::new(Threshold(serde_json::from_value(values)?))),
};

/// The settings of [`Threshold`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdConfig {
    /// The probability from which a cell is written.
    pub threshold: f64,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Threshold(pub ThresholdConfig);

struct Run {
    threshold: f64,
    total: usize,
}

impl Default for ThresholdConfig {
    fn default() -> Self {
        Self { threshold: 0.9 }
    }
}

impl Sampler for Threshold {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { threshold: self.0.threshold, total: block.noisy })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &crate::rng::StepRng) -> StepTimes {
        let total = self.total.max(1) as f64;
        StepTimes::new(noisy as f64 / total, noisy.saturating_sub(1) as f64 / total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let ranked = view.ranked(|proposal| proposal.probability);
        let sure = ranked.iter().take_while(|cell| cell.proposal.probability >= self.threshold).count();
        commit(&ranked[..sure.max(1).min(ranked.len())])
    }
}
