//! The sum that a judge gives for a text, and the units that it is read in.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Negative log-likelihood of the scored tokens. Scores of several texts add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Sum of `-ln p(token | context)` over the scored tokens, in nats.
    pub nats: f64,
    /// Number of scored tokens, end tokens included where they were flagged.
    pub tokens: usize,
}

impl Score {
    /// Mean negative log-likelihood of a token, in nats. `None` where no token was scored.
    pub fn nats_per_token(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.nats / self.tokens as f64)
    }

    /// `exp` of [`Score::nats_per_token`]: perplexity per token of the judge's tokenizer. Texts under two tokenizers are
    /// compared with [`Score::bits_per_byte`] instead.
    pub fn perplexity(&self) -> Option<f64> {
        self.nats_per_token().map(f64::exp)
    }

    /// `nats / (ln 2 * bytes)`, where `bytes` is the UTF-8 length of the scored text. Does not depend on the tokenizer's
    /// granularity. `None` for no bytes.
    pub fn bits_per_byte(&self, bytes: usize) -> Option<f64> {
        (bytes > 0).then(|| self.nats / std::f64::consts::LN_2 / bytes as f64)
    }
}

impl Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nats: self.nats + other.nats, tokens: self.tokens + other.tokens }
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Score {
    fn sum<I: Iterator<Item = Self>>(scores: I) -> Self {
        scores.fold(Self::default(), Add::add)
    }
}
