//! The sums behind a softmax and its entropy, joined chunk by chunk in float64.
//!
//! Each chunk counts from its own maximum; where a larger one comes, what was summed is scaled down (the online softmax,
//! Milakov and Gimelshein 2018, arXiv 1805.02867, algorithm 3).

use crate::scalar::{exp, ln};

/// With s = (logit - max) / heat: the sums of exp(s) and of exp(s) · s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    inverse_heat: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    pub(super) weighted: f64,
}

impl Sums {
    pub(super) fn new(heat: f64) -> Self {
        Self { inverse_heat: heat.recip(), max: f64::NEG_INFINITY, sum: 0.0, weighted: 0.0 }
    }

    /// Sums that count from `max`.
    pub(super) fn add(&mut self, max: f64, sum: f64, weighted: f64) {
        let (mut sum, mut weighted) = (sum, weighted);
        if max > self.max {
            std::mem::swap(&mut self.sum, &mut sum);
            std::mem::swap(&mut self.weighted, &mut weighted);
        }
        let shift = -(max - self.max).abs() * self.inverse_heat;
        self.max = self.max.max(max);
        let scale = exp(shift);
        // A shift without end would give 0 · inf.
        if scale > 0.0 {
            self.sum += scale * sum;
            self.weighted += scale * (weighted + sum * shift);
        }
    }

    /// A single token.
    pub(super) fn add_logit(&mut self, logit: f64) {
        self.add(logit, 1.0, 0.0);
    }

    /// A token's exponent: (logit - max) / heat.
    pub(super) fn exponent(&self, logit: f64) -> f64 {
        (logit - self.max) * self.inverse_heat
    }

    pub(super) fn log_sum_exp(&self) -> f64 {
        self.max * self.inverse_heat + ln(self.sum)
    }

    pub(super) fn entropy(&self) -> f64 {
        (ln(self.sum) - self.weighted / self.sum).max(0.0)
    }
}
