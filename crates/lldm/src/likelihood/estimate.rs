//! A measured likelihood: value, standard error, cost, and what it is.

use serde::Serialize;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// -log p itself.
    Exact,
    /// An upper bound of -log p; never to be ranked against an exact value as if it were one.
    Bound,
    /// -log of what the model gives to the text in one order of writing: an exact likelihood, but of another model than
    /// the one that the bound is about. Never to be ranked with bounds.
    OneOrder,
}

/// -log p of a text, or a bound of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value in nats, over all tokens.
    pub nats: f64,
    /// The standard error of the value in nats: 0 where nothing is drawn, none where it cannot be known from the draws.
    pub standard_error: Option<f64>,
    /// Tokens scored.
    pub tokens: usize,
    /// Forward passes spent.
    pub nfe: usize,
    /// What the value is.
    pub kind: Kind,
}

impl Estimate {
    /// Nats per token.
    pub fn nats_per_token(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    /// exp of the nats per token.
    pub fn perplexity(&self) -> f64 {
        self.nats_per_token().exp()
    }

    /// Bits per byte of a text of `bytes` bytes.
    pub fn bits_per_byte(&self, bytes: usize) -> f64 {
        self.nats / std::f64::consts::LN_2 / bytes.max(1) as f64
    }
}
