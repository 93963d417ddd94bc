//! The block bound: the masked bound of each block given the clean blocks before it, all blocks in one pass.
//!
//! BD3-LM (Arriola et al. 2025, section 3.2 and appendix B.6): the network reads the noised row and the clean row, 2L
//! tokens, under a mask of three parts: a noised block sees itself, a noised block sees the clean blocks before it, the
//! clean half is block-causal. Each block draws its own number of masked tokens, stratified over blocks and rows.

use lldm_diffusion::StepRng;
use lldm_diffusion::rng::Purpose;
use lldm_models::nn::Visibility;
use lldm_models::{Attention, Trunk};

use super::loss::{Loss, Objective, Rows, Target, weigh};
use super::subset::{exact_subset, stratified_count};
use crate::error::Result;

/// The objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Cells of a block.
    pub block_length: usize,
}

impl Objective for Block {
    fn name(&self) -> &'static str {
        "block"
    }

    fn attention(&self) -> Attention {
        Attention::BlockCausal
    }

    fn is_bound(&self) -> bool {
        true
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        let (length, count) = (rows.length, rows.count());
        let blocks = length.div_ceil(self.block_length);
        let offset = rng.uniform(0, Purpose::Time);
        let mut tokens = Vec::with_capacity(2 * rows.tokens.len());
        let mut targets = Vec::new();
        for row in 0..count {
            let clean = &rows.tokens[row * length..(row + 1) * length];
            let mut noisy = clean.to_vec();
            for block in 0..blocks {
                let end = ((block + 1) * self.block_length).min(length);
                let scored = |at: &usize| rows.scored[row * length + at];
                let places: Vec<_> = (block * self.block_length..end).filter(scored).collect();
                if places.is_empty() {
                    continue;
                }
                let lane = row * blocks + block;
                let k = stratified_count(places.len(), lane, count * blocks, offset);
                for at in exact_subset(&places, k, rng, lane) {
                    let weight = places.len() as f64 / k as f64;
                    targets.push(Target { row: row * 2 * length + at, token: clean[at], weight });
                    noisy[at] = trunk.config().mask_token_id;
                }
            }
            tokens.extend(noisy);
            tokens.extend(clean);
        }
        let positions: Vec<_> = (0..length).chain(0..length).collect();
        let visibility = Visibility::BlockDiffusion { length, block_length: self.block_length };
        let times = vec![0.0; count];
        let hidden = trunk.hidden(&tokens, count, &positions, Some(&times), visibility, None)?;
        weigh(trunk, &hidden, &targets, rows.scored_tokens())
    }
}
