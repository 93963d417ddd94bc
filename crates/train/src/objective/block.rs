//! The block bound: the masked bound of each block given the clean blocks before it, all blocks in one pass.
//!
//! BD3-LM (Arriola et al. 2025, section 3.2 and appendix B.6): the network reads the noised row and the clean row, 2L
//! tokens, under a mask of three parts: a noised block sees itself, a noised block sees the clean blocks before it, the
//! clean half is block-causal. Each block draws its own number of masked tokens, stratified over blocks and rows.

use serde::{Deserialize, Serialize};

use lldm_diffusion::StepRng;
use lldm_diffusion::registry::{Kind, Parameter};
use lldm_diffusion::rng::Purpose;
use lldm_models::nn::Visibility;
use lldm_models::{Attention, Trunk};

use super::loss::{Loss, Measures, Objective, Pass, Rows, Target, weigh};
use super::registry::Spec;
use super::subset::{exact_subset, stratified_count};
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "block",
    aliases: &["bd3lm"],
    presets: &[],
    summary: "the masked bound of each block given the clean blocks before",
    paper: "BD3-LM, Arriola et al. 2025, arXiv 2503.09573",
    parameters: &[BLOCK_LENGTH],
    build: |values| Ok(Box::new(Block(serde_json::from_value(values)?))),
};

/// The description of a block's length.
pub(super) const BLOCK_LENGTH: Parameter =
    Parameter { name: "block_length", kind: Kind::Integer { min: 1 }, default: "4", help: "cells of a block" };

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockConfig {
    /// Cells of a block.
    pub block_length: usize,
}

/// The objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block(pub BlockConfig);

impl Default for BlockConfig {
    fn default() -> Self {
        Self { block_length: 4 }
    }
}

impl Objective for Block {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::BlockCausal
    }

    fn block_length(&self) -> Option<usize> {
        Some(self.0.block_length)
    }

    fn takes_time(&self) -> bool {
        false
    }

    fn measures(&self) -> Measures {
        if self.0.block_length == 1 { Measures::Exact } else { Measures::Bound }
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        let (length, count, block_length) = (rows.length, rows.count(), self.0.block_length);
        let blocks = length.div_ceil(block_length);
        let offset = rng.uniform(0, Purpose::Time);
        let mut tokens = Vec::with_capacity(2 * rows.tokens.len());
        let mut targets = Vec::new();
        for row in 0..count {
            let clean = &rows.tokens[row * length..(row + 1) * length];
            let mut noisy = clean.to_vec();
            for block in 0..blocks {
                let end = ((block + 1) * block_length).min(length);
                let scored = |at: &usize| rows.scored[row * length + at];
                let places: Vec<_> = (block * block_length..end).filter(scored).collect();
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
        let visibility = Visibility::BlockDiffusion { length, block_length };
        let times = vec![0.0; count];
        let pass = Pass { tokens: &tokens, batch: count, positions: &positions, times: &times, visibility };
        weigh(trunk, &pass, &targets, rows.scored_tokens())
    }
}
