//! What a text is worth: the reward of particles, and what the best of several texts is chosen by.

use lldm_diffusion::{Error, Result, Token};

/// A reward for texts, the higher the better. Any closure over a text and its tokens is one.
pub trait Scorer: Send + Sync {
    /// The reward of a text, or of the draft of one. Minus infinity rules the text out.
    fn score(&self, text: &str, tokens: &[Token]) -> f64;
}

impl<F: Fn(&str, &[Token]) -> f64 + Send + Sync> Scorer for F {
    fn score(&self, text: &str, tokens: &[Token]) -> f64 {
        self(text, tokens)
    }
}

/// The reward of a text, which must be a number that can be compared.
pub fn reward(scorer: &dyn Scorer, text: &str, tokens: &[Token]) -> Result<f64> {
    let reward = scorer.score(text, tokens);
    if reward.is_nan() || reward == f64::INFINITY {
        return Err(Error::Contract { message: format!("a scorer gives {reward} to the text {text:?}") });
    }
    Ok(reward)
}
