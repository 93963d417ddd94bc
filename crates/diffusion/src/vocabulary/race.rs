//! An exact draw as an exponential race: with e_v ~ Exp(1), the v that minimises e_v / p_v^(1/T) is a draw from softmax(l / T).
//!
//! It is the Gumbel-max trick (Gumbel noise is -ln e) in float64 on 64-bit uniforms: float32 noise truncates the tail
//! and so lowers the temperature in secret (Zheng et al. 2024, arXiv 2409.02908). The functions are libm's, which give the same bits,
//! and so the same draws, on every CPU.

use crate::rng::stream;

/// How the token of a row is chosen.
#[derive(Clone, Copy, Debug)]
pub enum Draw<'a> {
    /// The most probable token; the lower id wins a tie.
    Argmax,
    /// A draw at the transform's temperature, from the stream that `key` starts. Temperature 0 is the argmax.
    Key(u64),
    /// A draw at the transform's temperature with given uniforms in (0, 1), one per vocabulary entry: replays a
    /// reference implementation.
    Uniforms(&'a [f64]),
}

/// The exponential race among the tokens of a row.
#[derive(Clone, Copy)]
pub(super) struct Race {
    /// ln of the best finishing time so far, and that time itself.
    log_best: f64,
    best: f64,
    pub(super) winner: Option<usize>,
}

impl Race {
    pub(super) fn new() -> Self {
        Self { log_best: f64::INFINITY, best: f64::INFINITY, winner: None }
    }

    /// Enters a token with the log weight `tempered` = shifted / T. Where `at_most` is at hand, no less than its exponential,
    /// most entries lose without a logarithm.
    pub(super) fn enter(&mut self, draw: Draw<'_>, token: usize, tempered: f64, at_most: Option<f64>) {
        let exponential = match draw {
            Draw::Argmax => return,
            Draw::Key(key) => {
                let v = (stream(key, token as u64) as f64 + 0.5) * 2f64.powi(-64);
                // -ln(1 - v) >= v.
                if at_most.is_some_and(|weight| v >= self.best * weight) {
                    return;
                }
                -libm::log1p(-v)
            }
            Draw::Uniforms(uniforms) => -libm::log(uniforms[token]),
        };
        let log_time = libm::log(exponential) - tempered;
        if log_time < self.log_best {
            *self = Self { log_best: log_time, best: libm::exp(log_time), winner: Some(token) };
        }
    }
}
