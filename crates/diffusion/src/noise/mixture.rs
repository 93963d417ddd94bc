//! One reverse step of one cell as a mixture: keep the token held, draw the clean token, draw noise, or mask.
//!
//! Every discrete process of this crate has reverse steps of this form, so a sampler needs no logits: the draw of the clean
//! token and the probability of the token held are all that it asks of a prediction.

use crate::canvas::Token;
use crate::noise::Alphabet;
use crate::rng::{Purpose, StepRng};

/// The four outcomes' probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    /// The cell keeps what it holds.
    pub keep: f64,
    /// It takes a draw from the prediction.
    pub draw: f64,
    /// It takes a uniform draw.
    pub uniform: f64,
    /// It becomes the mask.
    pub mask: f64,
}

/// An outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cell keeps what it holds.
    Keep,
    /// It takes the prediction's draw.
    Draw,
    /// It takes a uniform draw.
    Uniform,
    /// It becomes the mask.
    Mask,
}

impl Mixture {
    /// The cell keeps what it holds.
    pub const KEEP: Self = Self { keep: 1.0, draw: 0.0, uniform: 0.0, mask: 0.0 };
    /// The cell takes a draw from the prediction.
    pub const DRAW: Self = Self { keep: 0.0, draw: 1.0, uniform: 0.0, mask: 0.0 };

    /// The mixture with its sum brought to 1; none if nothing has any probability.
    pub fn normalised(self) -> Option<Self> {
        let total = self.keep + self.draw + self.uniform + self.mask;
        (total > 0.0 && total.is_finite()).then(|| self.scaled(1.0 / total))
    }

    /// All four multiplied.
    pub fn scaled(self, by: f64) -> Self {
        Self { keep: self.keep * by, draw: self.draw * by, uniform: self.uniform * by, mask: self.mask * by }
    }

    /// Entry by entry.
    pub fn plus(self, other: Self) -> Self {
        Self {
            keep: self.keep + other.keep,
            draw: self.draw + other.draw,
            uniform: self.uniform + other.uniform,
            mask: self.mask + other.mask,
        }
    }

    /// The outcome for a position. A share below nothing (an Euler step that is too large) counts as nothing.
    pub fn outcome(&self, position: usize, rng: &StepRng) -> Outcome {
        let u = rng.uniform(position, Purpose::Commit) * (self.keep.max(0.0) + self.draw + self.uniform + self.mask);
        // The draw stands first: with one seed, a step that reveals more reveals at least the same cells.
        [(Outcome::Draw, self.draw), (Outcome::Uniform, self.uniform), (Outcome::Mask, self.mask)]
            .into_iter()
            .scan(0.0, |sum, (outcome, share)| {
                *sum += share;
                Some((outcome, *sum))
            })
            .find(|(_, sum)| u < *sum)
            .map_or(Outcome::Keep, |(outcome, _)| outcome)
    }

    /// The V probabilities of the cell's next token, from the V probabilities `clean` of the prediction.
    pub fn probabilities(
        &self,
        held: Token,
        clean: &[f64],
        mask: Option<Token>,
        alphabet: Option<Alphabet>,
    ) -> Vec<f64> {
        let mut out: Vec<_> = clean.iter().map(|p| self.draw * p).collect();
        for (token, p) in out.iter_mut().enumerate() {
            *p += self.uniform * alphabet.map_or(0.0, |alphabet| alphabet.share(token as Token));
        }
        for (token, share) in [(Some(held), self.keep), (mask, self.mask)] {
            if let Some(p) = token.and_then(|token| out.get_mut(token as usize)) {
                *p += share;
            }
        }
        out
    }
}
