//! The block bound: block by block, the masked bound given the clean text before. Block length 1 is the exact
//! autoregressive likelihood, block length L the masked bound (BD3-LM, Arriola et al. 2025, eq. 4 and section 3.1).
//!
//! Inside a block of M tokens the bound is E_k[ M/k sum of -log p over k masked tokens ], k uniform on 1..=M, every
//! subset of size k equally likely; it is estimated with exactly k masks and k stratified over the samples.

use serde::{Deserialize, Serialize};

use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::{Condition, Context, Denoiser, LogitTransform, State, StepInput, Token};

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
    /// Draws a block.
    pub samples: usize,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for BoundConfig {
    fn default() -> Self {
        Self { block_length: 0, samples: 32, seed: 0 }
    }
}

/// The bound of -log p(text | prefix).
pub fn block_bound(
    denoiser: &dyn Denoiser,
    prefix: &[Token],
    text: &[Token],
    config: &BoundConfig,
) -> Result<Estimate> {
    let length = denoiser.info().canvas_length.unwrap_or(match config.block_length {
        0 => text.len().max(1),
        length => length,
    });
    let rng = Rng::new(config.seed, 0);
    let mut context = denoiser.prefill(prefix)?;
    let mut total = Estimate { nats: 0.0, standard_error: 0.0, tokens: text.len(), nfe: 0, kind: Kind::Exact };
    let mut variance = 0.0;
    let mut start = 0;
    let mut block = 0;
    while start < text.len() {
        // Blocks end on the family's grid.
        let grid = denoiser.info().canvas_grid.map(|grid| grid - (prefix.len() + start) % grid);
        let end = (start + length.min(grid.unwrap_or(length))).min(text.len());
        let cells = &text[start..end];
        let samples = if cells.len() == 1 { 1 } else { config.samples.max(1) };
        let offset = rng.at(block, STRATUM).uniform(0, Purpose::Time);
        let values = (0..samples)
            .map(|sample| {
                let u = (sample as f64 + offset) / samples as f64;
                let masked = ((u * cells.len() as f64) as usize).min(cells.len() - 1) + 1;
                let places = choose(cells.len(), masked, |i, n| rng.at(block, sample).choice(i, Purpose::Corrupt, n));
                let nats = masked_nats(denoiser, &mut context, cells, &places)?;
                Ok(nats * cells.len() as f64 / masked as f64)
            })
            .collect::<Result<Vec<f64>>>()?;
        let mean = values.iter().sum::<f64>() / samples as f64;
        total.nats += mean;
        total.nfe += samples;
        if samples > 1 {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            variance += squares / ((samples - 1) * samples) as f64;
        }
        if cells.len() > 1 {
            total.kind = Kind::Bound;
        }
        if end < text.len() {
            denoiser.extend(&mut context, cells)?;
        }
        (start, block) = (end, block + 1);
    }
    total.standard_error = variance.sqrt();
    Ok(total)
}

/// -log p of the cells at `places`, all masked, given the others: one forward pass.
pub(super) fn masked_nats(
    denoiser: &dyn Denoiser,
    context: &mut Context,
    cells: &[Token],
    places: &[usize],
) -> Result<f64> {
    let info = denoiser.info();
    let mask = info.mask.ok_or_else(|| lldm_diffusion::Error::Denoiser {
        message: "has no mask token: this bound is for masked, block and autoregressive models".to_string(),
    })?;
    let mut canvas = cells.to_vec();
    for place in places {
        canvas[*place] = mask;
    }
    let input = StepInput {
        state: State::Tokens(&canvas),
        time: places.len() as f64 / cells.len() as f64,
        temperature: 1.0,
        previous: None,
        condition: Condition::Given,
    };
    let prediction = denoiser.denoise(&input, context)?;
    let targets: Vec<_> = places.iter().map(|place| (*place, cells[*place])).collect();
    let transform = LogitTransform { banned: vec![mask], ..LogitTransform::default() };
    Ok(-prediction.log_probabilities(&targets, &transform)?.iter().sum::<f64>())
}

/// `k` of 0..`n`, every subset equally likely (Fisher-Yates, cut short).
fn choose(n: usize, k: usize, below: impl Fn(usize, usize) -> usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..n).collect();
    for i in 0..k {
        places.swap(i, i + below(i, n - i));
    }
    places.truncate(k);
    places
}
