//! The contract of a sampler: from proposals for noisy cells to what is written.

use std::ops::Range;

use crate::canvas::{Canvas, Token};
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
}

/// The block that a sampler starts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockStart {
    /// Noisy cells in the block.
    pub noisy: usize,
    /// The block's number in its canvas.
    pub index: usize,
    /// Blocks in the canvas.
    pub count: usize,
}

/// A sampler at work on one block of one sequence.
pub trait BlockSampler: Send {
    /// The times of the next step; called only while some cell of the block is noisy.
    fn next_step(&mut self, noisy: usize, rng: &StepRng) -> StepTimes;

    /// What to do, given the proposals for the block's noisy cells. Actions on fixed cells are refused by the loop.
    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)>;
}

/// A step goes from time t to the earlier time s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTimes {
    /// Where the step starts; the denoiser is asked at this time.
    pub t: f64,
    /// Where it ends.
    pub s: f64,
}

/// The proposal for one noisy cell.
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
#[derive(Clone, Debug)]
pub struct StepView<'a> {
    /// The canvas before the step.
    pub canvas: &'a Canvas,
    /// The block's cells.
    pub block: Range<usize>,
    /// One proposal per noisy cell of the block, from left to right.
    pub proposals: &'a [CellProposal],
    /// The times of the step.
    pub times: StepTimes,
    /// The step's randomness.
    pub rng: &'a StepRng,
}

/// What happens to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The token is written.
    Commit(Token),
    /// The token is written, but may change.
    Draft(Token),
    /// The cell becomes noise again.
    Renoise,
}

impl StepView<'_> {
    /// The cells that may be written, surest first by `rank`; the leftmost first among equals.
    pub(crate) fn ranked(&self, rank: impl Fn(&Proposal) -> f64) -> Vec<CellProposal> {
        let mut cells: Vec<_> = self.proposals.iter().copied().filter(|cell| cell.eligible).collect();
        cells.sort_by(|a, b| rank(&b.proposal).total_cmp(&rank(&a.proposal)));
        cells
    }
}

/// The action that writes each cell's proposal.
pub(crate) fn commit(cells: &[CellProposal]) -> Vec<(usize, Action)> {
    cells.iter().map(|cell| (cell.position, Action::Commit(cell.proposal.token))).collect()
}
