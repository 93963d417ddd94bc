//! The contract of a forward process q(x_t | x_0).

use crate::canvas::Token;
use crate::rng::StepRng;

/// A forward process on tokens. With ideal endpoints of its schedule `corrupt(x0, 0)` is the identity and
/// `corrupt(x0, 1)` is the prior; otherwise both hold up to the schedule's clip.
pub trait Noise: Send + Sync {
    /// L tokens of pure noise.
    fn prior(&self, length: usize, rng: &StepRng) -> Vec<Token>;

    /// Draws x_t given the L clean tokens.
    fn corrupt(&self, clean: &[Token], t: f64, rng: &StepRng) -> Vec<Token>;

    /// q(x_s | x_t, x_0 ~ `clean`) for one cell, s < t: V probabilities from the V probabilities of the clean token.
    fn posterior(&self, noisy: Token, clean: &[f64], s: f64, t: f64) -> Vec<f64>;
}
