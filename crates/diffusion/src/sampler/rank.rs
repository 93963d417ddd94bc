//! What a method ranks cells by. What it then commits is another question: see `commit.rs`.

use super::reverse::{CellProposal, StepView};
use crate::rng::Purpose;

/// The order in which cells are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The probability of the drawn token, largest first (MaskGIT, LLaDA, Fast-dLLM).
    Probability,
    /// The probability of the best token minus that of the second, largest first (Kim et al. 2025, arXiv 2502.06768).
    Margin,
    /// The entropy of the distribution, smallest first (Dream; Ben-Hamu et al. 2025, arXiv 2505.24857).
    Entropy,
    /// A uniform draw per cell (LLaDA's `random`).
    Random,
    /// From left to right.
    Position,
}

impl Rank {
    /// The cells that may be written, the first to be written first; the leftmost first among equals.
    pub fn order(self, view: &StepView<'_>) -> Vec<CellProposal> {
        let mut cells: Vec<_> = view.proposals.iter().copied().filter(|cell| cell.eligible).collect();
        cells.sort_by(|a, b| self.score(b, view).total_cmp(&self.score(a, view)));
        cells
    }

    /// How early a cell is written: larger is earlier.
    pub(super) fn score(self, cell: &CellProposal, view: &StepView<'_>) -> f64 {
        match self {
            Self::Probability => cell.proposal.probability,
            Self::Margin => cell.proposal.margin,
            Self::Entropy => -cell.proposal.entropy,
            Self::Random => view.rng.uniform(cell.position, Purpose::Position),
            Self::Position => -(cell.position as f64),
        }
    }
}
