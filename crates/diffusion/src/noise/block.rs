//! Block noise: every block of the canvas has a time of its own (BD3-LM, Arriola et al. 2025, section 3).

use super::{Alphabet, Marginal, Noise};
use crate::canvas::Token;
use crate::error::{Error, Result};
use crate::rng::StepRng;

/// Any inner noise, with one time for each block of `block_length` cells.
pub struct Block<N> {
    /// The process inside a block.
    pub inner: N,
    /// Cells in a block; the last block may be shorter.
    pub block_length: usize,
}

impl<N: Noise> Block<N> {
    /// The blocks of L cells.
    pub fn count(&self, length: usize) -> usize {
        length.div_ceil(self.block_length)
    }

    /// The block of a cell.
    pub fn block_of(&self, position: usize) -> usize {
        position / self.block_length
    }

    /// Draws x_t with `times[b]` for block b.
    pub fn corrupt_blocks(&self, clean: &[Token], times: &[f64], rng: &StepRng) -> Result<Vec<Token>> {
        let blocks = self.count(clean.len());
        if times.len() != blocks {
            return Err(Error::setting("times", times.len(), format!("{blocks} blocks need one time each")));
        }
        let cell =
            |(at, token): (usize, &Token)| self.inner.corrupt_cell(times[self.block_of(at)], at, rng).unwrap_or(*token);
        Ok(clean.iter().enumerate().map(cell).collect())
    }
}

impl<N: Noise> Noise for Block<N> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn marginal(&self, t: f64) -> Marginal {
        self.inner.marginal(t)
    }

    fn slope(&self, t: f64) -> Marginal {
        self.inner.slope(t)
    }

    fn mask(&self) -> Option<Token> {
        self.inner.mask()
    }

    fn alphabet(&self) -> Option<Alphabet> {
        self.inner.alphabet()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Alphabet, Masked, Uniform};
    use crate::rng::Rng;
    use crate::schedule::Linear;

    #[test]
    fn each_block_has_its_own_time() {
        let noise = Block { inner: Masked { schedule: Linear, mask: 9 }, block_length: 2 };
        let rng = Rng::new(4, 0).at(0, 0);
        let noisy = noise.corrupt_blocks(&[1, 2, 3, 4, 5], &[0.0, 1.0, 0.0], &rng).expect("three blocks");
        assert_eq!(noisy, [1, 2, 9, 9, 5]);
        assert!(noise.corrupt_blocks(&[1, 2, 3], &[0.0], &rng).is_err());
        assert_eq!(
            noise.corrupt_blocks(&[1, 2, 3, 4], &[0.5, 0.5], &rng).expect("two blocks"),
            noise.corrupt(&[1, 2, 3, 4], 0.5, &rng)
        );
        let alphabet = Alphabet { vocabulary: 9, without: None };
        let uniform = Block { inner: Uniform { schedule: Linear, alphabet }, block_length: 3 };
        let noisy = uniform.corrupt_blocks(&[8; 7], &[0.0, 1.0, 0.0], &rng).expect("three blocks");
        assert!(noisy[..3] == [8; 3] && noisy[6] == 8 && noisy[3..6] != [8; 3], "{noisy:?}");
    }
}
