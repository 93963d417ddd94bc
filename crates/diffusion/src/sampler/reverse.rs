//! The contract of a sampler: from proposals for noisy cells to what is written.

use std::ops::Range;

use crate::canvas::{Canvas, Token};
use crate::contract::{Compat, Statistics};
use crate::fork::ForkSampler;
use crate::noise::{Mixture, Noise};
use crate::prediction::Proposal;
use crate::rng::StepRng;

/// A reverse process with its settings.
pub trait Sampler: Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// The resolved settings, as JSON.
    fn settings(&self) -> serde_json::Value;

    /// Starts on a block.
    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler>;

    /// Which cells it wants proposals for under a forward process: [`Reads::Open`] says that it may change what it wrote.
    fn reads(&self, _: &dyn Noise) -> Reads {
        Reads::Noisy
    }

    /// Whether its reference drops the token with which top-p reaches p; then `compat = "reference"` does.
    fn drops_crossing(&self, _: &dyn Noise) -> bool {
        false
    }

    /// Of which distribution it wants the statistics.
    fn statistics(&self) -> Statistics {
        Statistics::Plain
    }
}

/// Which cells of its block a sampler wants proposals for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Those that hold noise.
    Noisy,
    /// Those that may still change: noise and drafts.
    Open,
}

/// The block that a sampler starts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStart {
    /// Cells of the block.
    pub length: usize,
    /// Noisy cells in the block.
    pub noisy: usize,
    /// The block's number in its canvas.
    pub index: usize,
    /// Blocks in the canvas.
    pub count: usize,
    /// Whether a defect of the reference is kept.
    pub compat: Compat,
}

/// A sampler at work on one block of one sequence. It is `Clone`.
pub trait BlockSampler: Send + ForkSampler {
    /// The times of the next step; called only while some cell of the block is open. `noisy` cells hold noise.
    fn next_step(&mut self, noisy: usize, rng: &StepRng) -> StepTimes;

    /// What to do, given the proposals. The loop refuses actions on fixed and committed cells.
    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)>;

    /// Whether the next step asks the prediction to judge what is written, so that a token held says nothing for itself. A
    /// constraint draws accordingly.
    fn doubts(&self) -> bool {
        false
    }

    /// Whether the step with those times draws each cell from the reverse posterior alone, so that guidance may mix posteriors
    /// (see [`StepView::mixed`]).
    fn draws_posterior(&self, _: &dyn Noise, _: StepTimes) -> bool {
        false
    }

    /// For samplers whose step draws each cell by itself: what it draws from, one mixture per proposal.
    fn mixtures(&self, _: &StepView<'_>) -> Option<Vec<Mixture>> {
        None
    }
}

/// A step goes from time t to the earlier time s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTimes {
    /// Where the step starts; the denoiser is asked at this time.
    pub t: f64,
    /// Where it ends.
    pub s: f64,
    /// What the temperature of the draws is multiplied by.
    pub heat: f64,
}

/// The proposal for one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellProposal {
    /// The cell.
    pub position: usize,
    /// What the denoiser says.
    pub proposal: Proposal,
    /// Whether the cell may be written in this step (see [`crate::EndRule`]). At least one cell always may.
    pub eligible: bool,
}

/// What a sampler sees at a step.
#[derive(Clone)]
pub struct StepView<'a> {
    /// The canvas before the step.
    pub canvas: &'a Canvas,
    /// The block's cells.
    pub block: Range<usize>,
    /// One proposal for each cell of the block that the sampler reads, from left to right.
    pub proposals: &'a [CellProposal],
    /// The forward process.
    pub noise: &'a dyn Noise,
    /// Whether the proposals weigh the token held (see [`crate::DenoiserInfo::weighs_held`]); those of a constraint do.
    pub weighs_held: bool,
    /// Whether the proposals are draws of what the cells hold after the step: guidance has mixed the posteriors already. Only
    /// where [`BlockSampler::draws_posterior`] says so.
    pub mixed: bool,
    /// The times of the step.
    pub times: StepTimes,
    /// The step's randomness.
    pub rng: &'a StepRng,
}

/// What happens to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The token is written for good.
    Commit(Token),
    /// The token is written, but may change.
    Draft(Token),
    /// The cell becomes noise again.
    Renoise,
}

impl StepTimes {
    /// From t to s, at the temperature asked for.
    pub fn new(t: f64, s: f64) -> Self {
        Self { t, s, heat: 1.0 }
    }

    /// Step number `step` of `steps` equal ones from 1 to 0; the last one is repeated for cells that it could not write.
    pub fn grid(step: usize, steps: usize) -> Self {
        let steps = steps.max(1);
        let at = |step: usize| 1.0 - step as f64 / steps as f64;
        let step = step.min(steps - 1);
        Self::new(at(step), at(step + 1).max(0.0))
    }

    /// Step number `step` of `steps` equal ones from 1 to `last`; behind them comes the one from there to 0.
    pub fn grid_above(last: f64, step: usize, steps: usize) -> Self {
        let steps = steps.max(1);
        let at = |step: usize| 1.0 - (1.0 - last) * step as f64 / steps as f64;
        if step >= steps { Self::new(last, 0.0) } else { Self::new(at(step), at(step + 1)) }
    }

    /// The time as the share of noisy cells, for methods without a schedule; never quite 0, where no noise is left.
    pub fn by_count(noisy: usize, total: usize) -> Self {
        let (noisy, total) = (noisy.max(1) as f64, total.max(1) as f64);
        Self::new((noisy / total).min(1.0), ((noisy - 1.0) / total).min(1.0))
    }
}
