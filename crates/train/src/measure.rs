//! Bits per byte of held-out text under a model: its likelihood, or the bound of its noise with all of its terms. What a
//! model was trained by does not matter, and no other loss is ever given in bits per byte.

use std::sync::Arc;

use serde::Serialize;

use lldm_diffusion::rng::Rng;
use lldm_models::{Answers, Attention, Trunk, TrunkConfig};

use crate::data::{Batch, Batches, BatchesConfig, Layout, TokenSet};
use crate::error::Result;
use crate::objective::{
    Autoregressive, Block, BlockConfig, Elbo, Masked, Measures, Objective, Rows, ScoreEntropy, ScoreEntropyConfig,
    ScoreNoise,
};

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

/// The objective that measures a trunk: it is exact, or a bound.
pub fn fitting_objective(trunk: &Trunk) -> Box<dyn Objective> {
    let config = trunk.config();
    match (config.attention, config.answers, trunk.noise().name()) {
        (Attention::Causal, ..) => Box::new(Autoregressive),
        (_, Answers::Score, name) => {
            let noise = if name == "uniform" { ScoreNoise::Uniform } else { ScoreNoise::Absorbing };
            Box::new(ScoreEntropy(ScoreEntropyConfig { noise, schedule: schedule(config) }))
        }
        // Under masked noise every schedule has the same bound, and nothing is known of a token that is noised.
        (Attention::Full, _, "masked") => Box::new(Masked),
        (Attention::BlockCausal, _, "masked") => Box::new(Block(BlockConfig { block_length: block_length(config) })),
        (attention, answers, _) => Box::new(Elbo {
            noise: config.noise.clone(),
            answers,
            block_length: (attention == Attention::BlockCausal).then(|| block_length(config)),
        }),
    }
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
    let objective = fitting_objective(trunk);
    let exact = objective.measures() == Measures::Exact;
    let draws = if exact { 1 } else { config.draws.max(1) };
    let mut parts = Vec::new();
    let mut tokens_scored = 0;
    for batch in rows(set, config)? {
        let (tokens, scored) = (batch.tokens(), batch.scored());
        let view = Rows { tokens: &tokens, scored: &scored, length: batch.length() };
        let mut nats = 0.0;
        for draw in 0..draws {
            let rng = |stream| Rng::new(config.seed, stream).at(batch.index, draw);
            let whole = objective.loss(trunk, &view, &rng(3))?.nats + objective.remainder(trunk, &view, &rng(4))?;
            nats += whole / draws as f64;
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
        bound: !exact,
    })
}

fn block_length(config: &TrunkConfig) -> usize {
    config.block_length.unwrap_or(1)
}

fn schedule(config: &TrunkConfig) -> String {
    config.noise.parameters.get("schedule").and_then(|name| name.as_str()).unwrap_or("linear").to_string()
}
