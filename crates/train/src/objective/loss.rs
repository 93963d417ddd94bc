//! The contract of an objective.

use candle_core::{Device, Tensor};

use lldm_diffusion::{StepRng, Token};
use lldm_models::nn::{CrossEntropy, cross_entropy};
use lldm_models::{Attention, Trunk};

use super::{Autoregressive, Block, Masked};
use crate::error::Result;

/// B rows of L tokens, row-major, and which of them are scored.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// B * L tokens.
    pub tokens: &'a [Token],
    /// B * L flags; tokens that are not scored (prompts, padding) are given.
    pub scored: &'a [bool],
    /// L.
    pub length: usize,
}

/// What an objective found on some rows.
pub struct Loss {
    /// The loss per scored token in nats, for the gradient.
    pub tensor: Tensor,
    /// The sum over scored tokens in nats.
    pub nats: f64,
    /// The number of scored tokens.
    pub tokens: usize,
}

/// A training objective on the trunk.
pub trait Objective: Send + Sync {
    /// The name in recipes.
    fn name(&self) -> &'static str;

    /// The attention that the trunk must have.
    fn attention(&self) -> Attention;

    /// Whether the loss is an upper bound of -log p (true), or equals it (false). Its unit is nats.
    fn is_bound(&self) -> bool;

    /// The loss on some rows; `rng` draws the noise.
    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss>;
}

/// The objective of that name; `block_length` belongs to `block`.
pub fn by_name(name: &str, block_length: Option<usize>) -> Option<Box<dyn Objective>> {
    Some(match (name, block_length) {
        ("masked", None) => Box::new(Masked),
        ("block", Some(block_length)) => Box::new(Block { block_length }),
        ("autoregressive", None) => Box::new(Autoregressive),
        _ => return None,
    })
}

impl Rows<'_> {
    /// B.
    pub fn count(&self) -> usize {
        self.tokens.len() / self.length
    }

    /// The number of scored tokens.
    pub fn scored_tokens(&self) -> usize {
        self.scored.iter().filter(|scored| **scored).count()
    }
}

/// One prediction to be scored: the row of `hidden`, the clean token, its weight.
pub(super) struct Target {
    pub(super) row: usize,
    pub(super) token: Token,
    pub(super) weight: f64,
}

/// The weighted cross-entropy of the targets, per scored token.
pub(super) fn weigh(trunk: &Trunk, hidden: &Tensor, targets: &[Target], scored: usize) -> Result<Loss> {
    let device = &Device::Cpu;
    let rows: Vec<u32> = targets.iter().map(|target| target.row as u32).collect();
    let logits = trunk.logits(&hidden.index_select(&Tensor::new(rows, device)?, 0)?)?;
    let scored = scored.max(1);
    let spec = CrossEntropy {
        targets: targets.iter().map(|target| target.token).collect(),
        weights: targets.iter().map(|target| (target.weight / scored as f64) as f32).collect(),
        banned: Some(trunk.config().mask_token_id),
    };
    let tensor = cross_entropy(&logits, spec)?;
    let nats = f64::from(tensor.to_scalar::<f32>()?) * scored as f64;
    Ok(Loss { tensor, nats, tokens: scored })
}
