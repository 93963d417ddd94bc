//! The contract of an objective.

use candle_core::Tensor;

use lldm_diffusion::{StepRng, Token};
use lldm_models::nn::{CrossEntropy, Visibility, cross_entropy};
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What a loss, in nats, is to -log p.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measures {
    /// It equals -log p.
    Exact,
    /// Its expectation over the draws, together with [`Objective::remainder`], is an upper bound of -log p.
    Bound,
    /// It says nothing about the likelihood: such a model is measured by another objective.
    Neither,
}

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

    /// Cells of a block, where the trunk must be block-causal.
    fn block_length(&self) -> Option<usize> {
        None
    }

    /// The noise that the trunk must be made for.
    fn noise(&self) -> NoiseConfig {
        NoiseConfig::default()
    }

    /// What the trunk learns to answer.
    fn answers(&self) -> Answers {
        Answers::Clean
    }

    /// Whether each row, or each block, is trained at a time that may enter the network.
    fn takes_time(&self) -> bool;

    /// What the loss is to -log p. Its unit is nats per scored token.
    fn measures(&self) -> Measures;

    /// The loss on some rows; `rng` draws the noise.
    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss>;

    /// What the loss leaves out of the bound, in nats over all scored tokens; `rng` draws the noise. Training needs it not.
    fn remainder(&self, _trunk: &Trunk, _rows: &Rows<'_>, _rng: &StepRng) -> Result<f64> {
        Ok(0.0)
    }
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

/// One prediction to be scored: the cell of the pass, the clean token, its weight.
pub(super) struct Target {
    pub(super) row: usize,
    pub(super) token: Token,
    pub(super) weight: f64,
}

/// One pass of the trunk over B rows of L cells.
pub(super) struct Pass<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) batch: usize,
    pub(super) positions: &'a [usize],
    pub(super) times: &'a [f64],
    pub(super) visibility: Visibility,
}

impl Pass<'_> {
    /// The final hidden vectors of some cells: [M, D].
    pub(super) fn hidden(&self, trunk: &Trunk, rows: &[u32]) -> Result<Tensor> {
        let Pass { tokens, batch, positions, times, visibility } = *self;
        Ok(trunk.hidden_rows(tokens, batch, positions, Some(times), visibility, rows)?)
    }
}

/// The weighted cross-entropy of the targets, per scored token.
pub(super) fn weigh(trunk: &Trunk, pass: &Pass<'_>, targets: &[Target], scored: usize) -> Result<Loss> {
    let rows: Vec<u32> = targets.iter().map(|target| target.row as u32).collect();
    let hidden = pass.hidden(trunk, &rows)?;
    let (spec, scored) = spec(trunk, targets.iter().map(|target| (target.token, target.weight)), scored);
    summed(trunk.cross_entropy(&hidden, spec)?, scored)
}

/// The weighted cross-entropy of a (token, weight) for each of N rows of logits, per scored token.
pub(super) fn score(
    trunk: &Trunk,
    logits: &Tensor,
    targets: impl Iterator<Item = (Token, f64)>,
    scored: usize,
) -> Result<Loss> {
    let (spec, scored) = spec(trunk, targets, scored);
    summed(cross_entropy(logits, spec)?, scored)
}

/// What is to be predicted, and over how many scored tokens the loss is spread.
fn spec(trunk: &Trunk, targets: impl Iterator<Item = (Token, f64)>, scored: usize) -> (CrossEntropy, usize) {
    let scored = scored.max(1);
    let (targets, weights) = targets.map(|(token, weight)| (token, (weight / scored as f64) as f32)).unzip();
    (CrossEntropy { targets, weights, banned: Some(trunk.config().mask_token_id) }, scored)
}

fn summed(tensor: Tensor, scored: usize) -> Result<Loss> {
    let nats = f64::from(tensor.to_scalar::<f32>()?) * scored as f64;
    Ok(Loss { tensor, nats, tokens: scored })
}
