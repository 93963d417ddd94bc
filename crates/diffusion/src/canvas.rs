//! The canvas: the L cells that are denoised together, and what state each of them is in.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A token id, an index into the vocabulary.
pub type Token = u32;

/// The state of one cell of a canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Given from outside; no sampler may touch it.
    Fixed,
    /// Holds noise (the mask token, or a draw from the prior).
    Noisy,
    /// Holds a token that a later step may still change.
    Draft,
    /// Written for good.
    Committed,
}

/// L cells: a token and a state each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    tokens: Vec<Token>,
    cells: Vec<Cell>,
}

impl Cell {
    /// Whether the cell may still change.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Noisy | Self::Draft)
    }
}

impl Canvas {
    /// A canvas of pure noise: `prior` holds the L tokens of the noise.
    pub fn noisy(prior: Vec<Token>) -> Self {
        let cells = vec![Cell::Noisy; prior.len()];
        Self { tokens: prior, cells }
    }

    /// The number of cells L.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the canvas has no cell.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The L tokens, noise included.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The L cell states.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Gives a cell from outside: it holds `token` from now on.
    pub fn pin(&mut self, position: usize, token: Token) {
        self.tokens[position] = token;
        self.cells[position] = Cell::Fixed;
    }

    /// Writes a token into a cell that is not fixed. Returns whether anything changed.
    pub fn commit(&mut self, position: usize, token: Token) -> bool {
        self.set(position, token, Cell::Committed)
    }

    /// Writes a token that may still change into a cell that is not fixed. Returns whether anything changed.
    pub fn draft(&mut self, position: usize, token: Token) -> bool {
        self.set(position, token, Cell::Draft)
    }

    /// Puts noise back into a cell that is not fixed. Returns whether anything changed.
    pub fn renoise(&mut self, position: usize, noise: Token) -> bool {
        self.set(position, noise, Cell::Noisy)
    }

    /// How many cells of `range` are noisy.
    pub fn count_noisy(&self, range: Range<usize>) -> usize {
        self.cells[range].iter().filter(|cell| **cell == Cell::Noisy).count()
    }

    /// How many cells of `range` are open: noisy or draft.
    pub fn count_open(&self, range: Range<usize>) -> usize {
        self.cells[range].iter().filter(|cell| cell.is_open()).count()
    }

    /// The leftmost noisy cell of the canvas.
    pub fn leftmost_noisy(&self) -> Option<usize> {
        self.cells.iter().position(|cell| *cell == Cell::Noisy)
    }

    /// The blocks of at most `block_length` cells, from left to right.
    pub fn blocks(&self, block_length: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let length = self.len();
        (0..length).step_by(block_length.max(1)).map(move |start| start..(start + block_length.max(1)).min(length))
    }

    fn set(&mut self, position: usize, token: Token, cell: Cell) -> bool {
        if self.cells[position] == Cell::Fixed {
            return false;
        }
        let changed = self.tokens[position] != token || self.cells[position] != cell;
        self.tokens[position] = token;
        self.cells[position] = cell;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_cells_cannot_be_written() {
        let mut canvas = Canvas::noisy(vec![9; 3]);
        canvas.pin(1, 4);
        assert!(!canvas.commit(1, 5) && !canvas.draft(1, 5) && !canvas.renoise(1, 9));
        assert_eq!(canvas.tokens(), [9, 4, 9]);
        assert!(canvas.commit(0, 5));
        assert!(!canvas.commit(0, 5), "writing the same token again changes nothing");
        assert_eq!(canvas.leftmost_noisy(), Some(2));
        assert_eq!(canvas.count_noisy(0..3), 1);
    }

    #[test]
    fn the_last_block_may_be_short() {
        let canvas = Canvas::noisy(vec![0; 7]);
        assert_eq!(canvas.blocks(3).collect::<Vec<_>>(), [0..3, 3..6, 6..7]);
        assert_eq!(canvas.blocks(100).collect::<Vec<_>>(), std::iter::once(0..7).collect::<Vec<_>>());
    }
}
