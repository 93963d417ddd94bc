//! A fixed number of cells per step, by any rank: what LLaDA's `low_confidence` and `random` share.

use super::commit::{commit, transfer_quota};
use super::rank::Rank;
use super::reverse::{Action, BlockSampler, BlockStart, StepTimes, StepView};
use crate::rng::StepRng;

/// A block at work.
#[derive(Clone)]
pub(super) struct QuotaRun {
    rank: Rank,
    quota: Vec<usize>,
    step: usize,
}

impl QuotaRun {
    /// `steps` are those of the canvas, shared by its blocks.
    pub(super) fn new(rank: Rank, steps: usize, block: BlockStart) -> Self {
        let steps = transfer_quota(steps, block.count)[block.index].max(1);
        let quota = transfer_quota(block.noisy, steps).into_iter().filter(|quota| *quota > 0).collect();
        Self { rank, quota, step: 0 }
    }
}

impl BlockSampler for QuotaRun {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        // The masked share that the plan expects; families without time input ignore it.
        let steps = self.quota.len().max(self.step + 1) as f64;
        let t = 1.0 - self.step as f64 / steps;
        StepTimes::new(t, (t - 1.0 / steps).max(0.0))
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        // Cells that were not eligible in time are made up for after the planned steps, at the pace of the last one.
        let quota = self.quota.get(self.step).or(self.quota.last()).copied().unwrap_or(1);
        self.step += 1;
        let ranked = self.rank.order(view);
        commit(&ranked[..quota.min(ranked.len())])
    }
}
