//! What a generation gives back.

use serde::Serialize;
use serde_json::Value;

use lldm_diffusion::{FinishReason, Guarantee, Token, Usage};

/// A finished text with everything that decided it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Output {
    /// The text behind the prompt. Under a constraint it is what the constraint speaks of, without a space that joins it to the
    /// prompt.
    pub text: String,
    /// Its tokens.
    #[serde(skip)]
    pub tokens: Vec<Token>,
    /// The probability that the denoiser gave to each token when it was written; not an autoregressive probability.
    #[serde(skip)]
    pub probabilities: Vec<f32>,
    /// The seed that makes it again.
    pub seed: u64,
    /// The model.
    pub model: String,
    /// The sampler with its resolved settings.
    pub sampler: UsedSampler,
    /// What it cost.
    pub usage: Usage,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The constraint that it obeys, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<UsedConstraint>,
    /// The particles of which it is one, if there were any. Their cost is the text's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub particles: Option<UsedParticles>,
}

/// Particles as they came out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UsedParticles {
    /// How many there were.
    pub count: usize,
    /// How often they were drawn anew.
    pub resampled: usize,
    /// ln of their mean weight. Weighed by the ratio of Z, an estimate of the probability that the model writes a valid text.
    pub log_evidence: f64,
}

/// A constraint as it was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsedConstraint {
    /// How far it is guaranteed to hold.
    pub guarantee: Guarantee,
    /// States of the automaton over bytes.
    pub byte_states: usize,
    /// States of the automaton over tokens.
    pub states: usize,
    /// Classes of tokens that it tells apart.
    pub classes: usize,
}

/// A sampler with its resolved settings and those of the loop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsedSampler {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Value,
    /// The most tokens that were to be written.
    pub max_tokens: usize,
    /// Cells denoised together.
    pub canvas_length: usize,
    /// Cells of a block.
    pub block_length: usize,
    /// The temperature of the draws.
    pub temperature: f64,
    /// The most probable tokens that were kept; 0 kept all.
    pub top_k: usize,
    /// The probability that the kept tokens held; 1 kept all.
    pub top_p: f64,
    /// The penalty of tokens that stood in the text already; 1 was none.
    pub repetition_penalty: f64,
    /// The scale of guidance; 0 was none.
    pub guidance_scale: f64,
    /// Where an end token could be written.
    pub end_rule: lldm_diffusion::EndRule,
    /// Whether defects of reference implementations were kept.
    pub compat: lldm_diffusion::Compat,
}
