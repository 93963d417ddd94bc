//! An exact draw as an exponential race: with e ~ Exp(1) for each token, the token that minimises `e / p^(1/T)` is a draw from
//! softmax(l / T).
//!
//! It is the Gumbel-max trick in float64 on 64-bit uniforms v, `e = -ln(1 - v)` (Zheng et al. 2024, arXiv 2409.02908, on what
//! float32 noise does). The lanes only reject: since `e >= v`, no token wins whose v, cut to 24 bits, is at least the best
//! time so far times its weight. What they let through is decided here in float64, so the token drawn is that of a float64
//! race over all tokens.

use super::stream::{counter, stream};
use super::transform::Ranked;
use crate::scalar::{exp, ln, ln_1p};

/// The race among the tokens of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Race {
    key: u64,
    temperature: f64,
    /// Logits count from here, so that no digits are lost where they are large.
    origin: f64,
    log_best: f64,
    pub(super) winner: Option<Ranked>,
}

/// What lanes may be wrong by, and more: the weight by 2e-7 and by the rounding of an exponent of at most 88, which is 2e-5.
const MARGIN: f64 = 1.0 + 1e-4;
/// The lanes' uniforms are whole numbers below this.
const UNIT: f64 = 16_777_216.0;

impl Race {
    /// A race at a temperature above 0; `origin` is some logit of the row.
    pub(super) fn new(key: u64, temperature: f64, origin: f64) -> Self {
        Self { key, temperature, origin, log_best: f64::INFINITY, winner: None }
    }

    /// What [`super::lanes::VocabSimd::top_bits`] takes for a token.
    pub(super) fn counter(&self, token: usize) -> u64 {
        counter(self.key, token as u64)
    }

    /// A token enters; whether it leads.
    pub(super) fn enter(&mut self, token: Ranked) -> bool {
        let log_time = ln(-ln_1p(-self.uniform(token.token))) - self.tempered(token.logit);
        let leads = log_time < self.log_best;
        if leads {
            self.log_best = log_time;
            self.winner = Some(token);
        }
        leads
    }

    /// A token enters unless it has lost by the limit that [`Race::limit`] gave for a logit that is no less than its own.
    #[inline(always)]
    pub(super) fn enter_below(&mut self, token: Ranked, limit: f64) {
        if self.uniform(token.token) < limit {
            self.enter(token);
        }
    }

    /// The tokens of a block whose bits are set enter; the first of the block is `first`.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_block(&mut self, mut mask: u64, block: &[f32], first: usize) {
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let logit = f64::from(block[at]);
            if logit > f64::NEG_INFINITY {
                self.enter(Ranked { token: (first + at) as u32, logit });
            }
        }
    }

    /// A token of this logit and all below it lose unless v is below this.
    pub(super) fn limit(&self, logit: f64) -> f64 {
        exp(self.log_best + self.tempered(logit)) * MARGIN
    }

    /// What a lane's weight, which is 1 at this logit, is multiplied by: the token loses unless its uniform is below that.
    pub(super) fn lane_limit(&self, logit: f32) -> f32 {
        (self.limit(f64::from(logit)) * UNIT) as f32
    }

    /// Whether a token loses whatever its uniform is, the least of which is 2^-65.
    pub(super) fn is_hopeless(&self, logit: f64) -> bool {
        const LOG_LEAST: f64 = -45.06;
        LOG_LEAST - self.tempered(logit) >= self.log_best
    }

    fn uniform(&self, token: u32) -> f64 {
        (stream(self.key, u64::from(token)) as f64 + 0.5) * 2f64.powi(-64)
    }

    fn tempered(&self, logit: f64) -> f64 {
        (logit - self.origin) / self.temperature
    }
}
