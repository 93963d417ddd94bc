//! Bits per byte of held-out text under a finished model, with the objective that it was trained for.

use std::sync::Arc;

use serde::Serialize;

use lldm_diffusion::rng::Rng;
use lldm_models::{Attention, Trunk};

use crate::data::{Batch, Batches, BatchesConfig, Layout, TokenSet};
use crate::error::{Error, Result};
use crate::objective::{self, Objective, Rows};

/// Rows that are measured together; the standard error is taken over such groups.
const GROUP: usize = 4;

/// How held-out text is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasureConfig {
    /// Tokens of a row, L.
    pub length: usize,
    /// The most rows that are looked at.
    pub rows: usize,
    /// Draws of the noise for each row, where the objective draws.
    pub draws: usize,
    /// The seed of the order and of the draws.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Bits per byte.
    pub bits_per_byte: f64,
    /// The standard error of it over groups of rows; none where there is a single group.
    pub standard_error: Option<f64>,
    /// Nats over all scored tokens.
    pub nats: f64,
    /// Scored tokens.
    pub tokens: usize,
    /// Bytes of the scored text.
    pub bytes: usize,
    /// Whether it is an upper bound of the true value, or the value.
    pub bound: bool,
}

/// The objective that fits a trunk's attention.
pub fn fitting_objective(trunk: &Trunk) -> Result<Box<dyn Objective>> {
    let (name, block_length) = match trunk.config().attention {
        Attention::Full => ("masked", None),
        Attention::BlockCausal => ("block", trunk.config().block_length),
        Attention::Causal => ("autoregressive", None),
    };
    objective::by_name(name, block_length).ok_or_else(|| Error::recipe("objective", format!("there is no `{name}`")))
}

/// The first rows of a set, in groups: what every measurement of it looks at.
pub fn rows(set: &Arc<TokenSet>, config: &MeasureConfig) -> Result<impl Iterator<Item = Batch> + use<>> {
    let batches = BatchesConfig {
        layout: Layout::Packed,
        length: config.length,
        batch: GROUP,
        seed: config.seed,
        keep_last: true,
    };
    Ok(Batches::new(Arc::clone(set), &batches, 0)?.take(config.rows.div_ceil(GROUP)))
}

/// Measures the first rows of a set.
pub fn measure(trunk: &Trunk, set: &Arc<TokenSet>, config: &MeasureConfig) -> Result<Measured> {
    let objective = fitting_objective(trunk)?;
    let draws = if objective.is_bound() { config.draws.max(1) } else { 1 };
    let mut parts = Vec::new();
    let mut tokens_scored = 0;
    for batch in rows(set, config)? {
        let (tokens, scored) = (batch.tokens(), batch.scored());
        let view = Rows { tokens: &tokens, scored: &scored, length: batch.length() };
        let mut nats = 0.0;
        for draw in 0..draws {
            let rng = Rng::new(config.seed, 3).at(batch.index, draw);
            nats += objective.loss(trunk, &view, &rng)?.nats / draws as f64;
        }
        parts.push((nats, batch.scored_bytes() as f64));
        tokens_scored += batch.scored_tokens();
    }
    let (nats, bytes) = parts.iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let ratio = nats / f64::max(bytes, 1.0);
    // The delta method for a ratio of sums.
    let count = parts.len() as f64;
    let squares: f64 = parts.iter().map(|(nats, bytes)| (nats - ratio * bytes).powi(2)).sum();
    let error = (parts.len() > 1).then(|| (squares * count / (count - 1.0)).sqrt() / f64::max(bytes, 1.0));
    Ok(Measured {
        bits_per_byte: ratio / std::f64::consts::LN_2,
        standard_error: error.map(|error| error / std::f64::consts::LN_2),
        nats,
        tokens: tokens_scored,
        bytes: bytes as usize,
        bound: objective.is_bound(),
    })
}
