//! The block bound: block by block, the masked bound given the clean text before. Block length 1 is the exact
//! autoregressive likelihood, block length L the masked bound (BD3-LM, Arriola et al. 2025, eq. 4 and section 3.1).
//!
//! Inside a block of M tokens the bound is E_k[ M/k sum of -log p over k masked tokens ], k uniform on 1..=M, every
//! subset of size k equally likely; it is estimated with exactly k masks and k stratified over the samples. The standard
//! error is that of independent samples, which the strata make an overestimate.

use serde::{Deserialize, Serialize};

use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::{Denoiser, Token};

use super::blocks::{Block, choose, masked_nats, mean, sum};
use super::estimate::{Estimate, Kind};
use crate::error::Result;

/// The step number under which a block's place in its strata is drawn; no sample has it.
const STRATUM: usize = u32::MAX as usize;

/// How the bound is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoundConfig {
    /// Tokens of a block; 0 is the whole text.
    pub block_length: usize,
    /// Draws a block. With one alone the standard error is unknown.
    pub samples: usize,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for BoundConfig {
    fn default() -> Self {
        Self { block_length: 0, samples: 32, seed: 0 }
    }
}

/// The bound of -log p(text | prefix), in nats.
pub fn block_bound(
    denoiser: &dyn Denoiser,
    prefix: &[Token],
    text: &[Token],
    config: &BoundConfig,
) -> Result<Estimate> {
    let rng = Rng::new(config.seed, 0);
    sum(denoiser, prefix, text, config.block_length, Kind::Bound, |place, context| {
        let cells = place.cells;
        let exact = cells.len() == 1;
        let samples = if exact { 1 } else { config.samples.max(1) };
        let offset = rng.at(place.number, STRATUM).uniform(0, Purpose::Time);
        let values = (0..samples)
            .map(|sample| {
                let u = (sample as f64 + offset) / samples as f64;
                let masked = ((u * cells.len() as f64) as usize).min(cells.len() - 1) + 1;
                let draw = |i, n| rng.at(place.number, sample).choice(i, Purpose::Corrupt, n);
                let nats = masked_nats(denoiser, context, cells, &choose(cells.len(), masked, draw))?;
                Ok(nats * cells.len() as f64 / masked as f64)
            })
            .collect::<Result<Vec<f64>>>()?;
        let (nats, variance) = mean(&values);
        Ok(Block { nats, variance: if exact { Some(0.0) } else { variance }, nfe: samples, exact })
    })
}
