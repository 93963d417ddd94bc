//! The canvas that a sequence has open: its cells, its blocks, and where the sampler stands in them.

use std::ops::Range;
use std::sync::Arc;

use crate::canvas::{Canvas, Cell, Token};
use crate::frame::FrameCell;
use crate::prediction::Prediction;
use crate::sampler::{Action, BlockSampler, CellProposal, StepTimes};

/// The canvas being denoised.
pub(crate) struct Open {
    pub(crate) canvas: Canvas,
    /// What was last proposed for, or written into, each cell.
    pub(crate) seen: Vec<Option<(Token, f32)>>,
    /// What was last proposed for each cell.
    pub(crate) drawn: Vec<Option<Token>>,
    pub(crate) blocks: Vec<Range<usize>>,
    pub(crate) block: usize,
    pub(crate) sampler: Option<Box<dyn BlockSampler>>,
    pub(crate) block_step: usize,
    pub(crate) steps: usize,
    pub(crate) times: StepTimes,
    pub(crate) prediction: Option<Arc<dyn Prediction>>,
    /// The answer without the prefix, where guidance has not joined the two.
    pub(crate) without: Option<Arc<dyn Prediction>>,
    /// Whether `prediction` is what the denoiser would answer now.
    pub(crate) valid: bool,
}

impl Open {
    /// A canvas of noise behind `written` tokens, with the given cells that fall into it.
    pub(crate) fn new(prior: Vec<Token>, pins: &[(usize, Token)], written: usize, block_length: usize) -> Self {
        let mut canvas = Canvas::noisy(prior);
        let mut seen = vec![None; canvas.len()];
        for (position, token) in pins {
            if let Some(at) = position.checked_sub(written).filter(|at| *at < canvas.len()) {
                canvas.pin(at, *token);
                seen[at] = Some((*token, 1.0));
            }
        }
        let blocks = canvas.blocks(block_length).collect();
        Self {
            drawn: vec![None; canvas.len()],
            canvas,
            seen,
            blocks,
            block: 0,
            sampler: None,
            block_step: 0,
            steps: 0,
            times: StepTimes::new(1.0, 1.0),
            prediction: None,
            without: None,
            valid: false,
        }
    }

    /// A copy that goes on by itself.
    pub(crate) fn fork(&self) -> Self {
        Self {
            canvas: self.canvas.clone(),
            seen: self.seen.clone(),
            drawn: self.drawn.clone(),
            blocks: self.blocks.clone(),
            sampler: self.sampler.as_ref().map(|sampler| sampler.fork()),
            prediction: self.prediction.clone(),
            without: self.without.clone(),
            ..*self
        }
    }

    /// The text as it would be if the last draw of each cell were written, as far as there are draws.
    pub(crate) fn draft(&self) -> impl Iterator<Item = Token> {
        let cells = self.canvas.cells().iter().zip(self.canvas.tokens()).zip(&self.drawn);
        cells.map_while(|((cell, held), drawn)| match cell {
            Cell::Fixed | Cell::Committed => Some(*held),
            Cell::Draft => Some(drawn.unwrap_or(*held)),
            Cell::Noisy => *drawn,
        })
    }

    /// Notes what is proposed for a cell, or what an action writes there, with its probability.
    pub(crate) fn see(&mut self, cell: &CellProposal, action: Option<Action>) {
        let CellProposal { position, proposal, .. } = *cell;
        let held = self.canvas.tokens()[position];
        let token = match action {
            Some(Action::Commit(token) | Action::Draft(token)) => token,
            Some(Action::Renoise) => proposal.token,
            // A draft stands until an action changes it.
            None if self.canvas.cells()[position] == Cell::Draft => held,
            None => proposal.token,
        };
        let probability = match token {
            token if token == proposal.token => proposal.probability,
            token if token == proposal.best => proposal.best_probability,
            token if token == held => proposal.held,
            // A draw of the noise.
            _ => 0.0,
        };
        self.seen[position] = Some((token, probability as f32));
    }

    /// The cells as an observer sees them.
    pub(crate) fn cells(&self) -> Vec<FrameCell> {
        let cells = self.canvas.cells().iter().zip(self.canvas.tokens()).zip(&self.seen);
        cells
            .map(|((state, token), seen)| match (state, seen) {
                (Cell::Noisy, Some((token, probability))) => {
                    FrameCell { state: Cell::Draft, token: *token, probability: *probability }
                }
                (Cell::Noisy, None) => FrameCell { state: Cell::Noisy, token: *token, probability: 0.0 },
                (state, seen) => FrameCell { state: *state, token: *token, probability: seen.map_or(1.0, |(_, p)| p) },
            })
            .collect()
    }
}

/// Does what a sampler says; whether any token changed, or what it did wrong.
pub(crate) fn apply(
    canvas: &mut Canvas,
    actions: Vec<(usize, Action)>,
    mask: Option<Token>,
    noise: &dyn Fn(usize) -> Vec<Token>,
) -> Result<bool, String> {
    let length = canvas.len();
    let before = canvas.tokens().to_vec();
    let mut fresh = None;
    for (at, action) in actions {
        match canvas.cells().get(at) {
            None => return Err(format!("wrote cell {at} of {length}")),
            Some(Cell::Committed) => return Err(format!("changed cell {at}, which is written for good")),
            Some(_) => {}
        }
        match action {
            Action::Commit(token) | Action::Draft(token) if mask == Some(token) => {
                return Err("wrote the mask".to_string());
            }
            Action::Commit(token) => canvas.commit(at, token),
            Action::Draft(token) => canvas.draft(at, token),
            Action::Renoise => canvas.renoise(at, fresh.get_or_insert_with(|| noise(length))[at]),
        };
    }
    Ok(canvas.tokens() != before)
}
