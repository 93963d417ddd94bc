//! Low-confidence remasking: of all predictions only the surest are written; the others stay masked.
//!
//! LLaDA, Nie et al. 2025 (arXiv 2502.09992), algorithm 5; reference: ML-GSAI/LLaDA `generate.py`. The number of cells
//! per step is fixed in advance; confidence is the probability of the drawn token, taken before temperature and noise.
//!
//! Deviations: the mask is never predicted (in the reference an argmax on the mask uses up quota and leaves masks in
//! the text); steps without quota are skipped instead of costing a forward pass; `steps` that the number of blocks does
//! not divide are spread over the first blocks instead of being refused.

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView, commit};
use crate::registry::{Kind, Parameter};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "low_confidence",
    aliases: &[],
    summary: "writes a fixed number of the surest predictions each step",
    paper: "LLaDA, Nie et al. 2025, arXiv 2502.09992",
    parameters: &[Parameter {
        name: "steps",
        kind: Kind::Integer { min: 1 },
        default: "32",
        help: "steps in total, shared by the blocks of a canvas",
    }],
    build: |values| Ok(Box::new(LowConfidence(serde_json::from_value(values)?))),
};

/// The settings of [`LowConfidence`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowConfidenceConfig {
    /// Steps in total, shared by the blocks of a canvas.
    pub steps: usize,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LowConfidence(pub LowConfidenceConfig);

/// How many of `masks` cells are written in each of `steps` steps: as even as possible, the larger shares first
/// (`get_num_transfer_tokens` of the reference).
pub fn transfer_quota(masks: usize, steps: usize) -> Vec<usize> {
    (0..steps).map(|step| masks / steps + usize::from(step < masks % steps)).collect()
}

struct Run {
    quota: Vec<usize>,
    step: usize,
}

impl Default for LowConfidenceConfig {
    fn default() -> Self {
        Self { steps: 32 }
    }
}

impl Sampler for LowConfidence {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        let steps = transfer_quota(self.0.steps, block.count)[block.index].max(1);
        let quota = transfer_quota(block.noisy, steps).into_iter().filter(|quota| *quota > 0).collect();
        Box::new(Run { quota, step: 0 })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &crate::rng::StepRng) -> StepTimes {
        // The masked share that the plan expects; families without time input ignore it.
        let steps = self.quota.len().max(self.step + 1) as f64;
        let t = 1.0 - self.step as f64 / steps;
        StepTimes::new(t, (t - 1.0 / steps).max(0.0))
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        // Cells that were not eligible in time are made up for after the planned steps, at the pace of the last one.
        let quota = self.quota.get(self.step).or(self.quota.last()).copied().unwrap_or(1);
        self.step += 1;
        let ranked = view.ranked(|proposal| proposal.probability);
        commit(&ranked[..quota.min(ranked.len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_even_and_complete() {
        assert_eq!(transfer_quota(8, 3), [3, 3, 2]);
        assert_eq!(transfer_quota(2, 4), [1, 1, 0, 0]);
        for masks in 0..40 {
            for steps in 1..20 {
                assert_eq!(transfer_quota(masks, steps).iter().sum::<usize>(), masks);
            }
        }
    }
}
