//! The call that writes texts: what works together in it, its settings, what it gives back.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::canvas::Token;
use crate::contract::{Compat, Constraint, Guarantee, Guidance, LogitTransform, Observer, StopRule};
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
use crate::noise::Noise;
use crate::sampler::Sampler;

/// What works together in a generation.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The network.
    pub denoiser: &'a dyn Denoiser,
    /// The forward process that the network was trained for.
    pub noise: &'a dyn Noise,
    /// The reverse process.
    pub sampler: &'a dyn Sampler,
    /// When a text is finished early.
    pub stop: &'a dyn StopRule,
    /// A soft pull, if any.
    pub guidance: Option<&'a dyn Guidance>,
    /// A language that the text must belong to, if any.
    pub constraint: Option<&'a dyn Constraint>,
}

/// The settings of the loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateConfig {
    /// The most tokens that are written.
    pub max_tokens: usize,
    /// Cells denoised together, L. A family with a canvas length of its own overrides it.
    pub canvas_length: usize,
    /// Cells of a block: inside a canvas, blocks are finished from left to right.
    pub block_length: usize,
    /// Where an end token may be written.
    pub end_rule: EndRule,
    /// What happens to the logits.
    pub transform: LogitTransform,
    /// Whether defects of reference implementations are kept.
    #[serde(default)]
    pub compat: Compat,
}

/// Where an end token may be written.
///
/// Confidence-ordered samplers write the surest cells first, and where texts are short that is the end token: the text
/// comes out empty. Under `Leftmost` a cell whose draw is an end token waits until nothing to its left is noise. Where the
/// text is drawn as a whole (under uniform and hybrid noise, and by `entropy_bound`) the rule has nothing to order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndRule {
    /// Anywhere, as the papers have it.
    Free,
    /// Only in the leftmost open cell.
    #[default]
    Leftmost,
}

/// One text to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The P tokens before the text.
    pub prefix: Vec<Token>,
    /// Cells given from outside: (position after the prefix, token).
    pub pins: Vec<(usize, Token)>,
    /// Tokens that the first cell may not hold, such as pieces that would go on with the prefix's last word.
    pub first_banned: Vec<Token>,
    /// The seed.
    pub seed: u64,
    /// The number of the sequence; its draws depend on it and on nothing else in the batch.
    pub index: u64,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The stop rule said so.
    Stop,
    /// The budget is used up.
    Length,
}

/// What a text cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prefix.
    pub prompt_tokens: usize,
    /// Tokens of the text, without what lies behind its end.
    pub tokens: usize,
    /// Forward passes over the noisy canvas; guidance counts 2, an answer used again 0.
    pub nfe: usize,
    /// Sampler steps.
    pub steps: usize,
    /// Blocks begun.
    pub blocks: usize,
    /// Forward passes over the context (prefill and cache stores), which the NFE leaves out.
    pub context_passes: usize,
}

/// A finished text.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The tokens, without end tokens.
    pub tokens: Vec<Token>,
    /// The probability that the denoiser gave to each token when it was written; not an autoregressive probability.
    pub probabilities: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
    /// How far the constraint is guaranteed to hold, if there was one.
    pub guarantee: Option<Guarantee>,
    /// What it cost.
    pub usage: Usage,
}

/// Writes several texts in step; each equals what it would be alone.
pub fn generate(
    parts: &Parts<'_>,
    config: &GenerateConfig,
    sequences: &[Sequence],
    mut observer: Option<&mut dyn Observer>,
) -> Result<Vec<Generation>> {
    let mut batch = Batch::new(parts, config, sequences)?;
    while batch.round(&mut observer)? {}
    Ok(batch.finish())
}

/// Says what of a call cannot be done, if anything cannot.
pub(crate) fn check(parts: &Parts<'_>, config: &GenerateConfig, sequences: &[Sequence]) -> Result<()> {
    let info = parts.denoiser.info();
    for (setting, value) in [
        ("max_tokens", config.max_tokens),
        ("canvas_length", config.canvas_length),
        ("block_length", config.block_length),
    ] {
        if value == 0 {
            return Err(Error::setting(setting, 0, "at least 1 is needed"));
        }
    }
    config.transform.check()?;
    if info.canvas_length == Some(0) || info.canvas_grid == Some(0) {
        return Err(Error::Contract { message: "a denoiser asks for canvases of 0 cells".to_string() });
    }
    // The last canvas of a fixed length reaches beyond the tokens asked for.
    let cells = info.canvas_length.map_or(config.max_tokens, |length| config.max_tokens.next_multiple_of(length));
    for sequence in sequences {
        if sequence.prefix.len() + cells > info.max_length {
            return Err(Error::TooLong { prefix: sequence.prefix.len(), canvas: cells, limit: info.max_length });
        }
        let pinned = sequence.pins.iter().map(|(_, token)| token);
        if let Some(token) = sequence.prefix.iter().chain(pinned).find(|token| **token as usize >= info.vocabulary) {
            return Err(Error::Vocabulary { token: *token, vocabulary: info.vocabulary });
        }
        if let Some((_, token)) = sequence.pins.iter().find(|(_, token)| Some(*token) == info.mask) {
            return Err(Error::setting("pin", token, "that is the mask: leave the cell out to have it written"));
        }
        if let Some((position, _)) = sequence.pins.iter().find(|(position, _)| *position >= config.max_tokens) {
            return Err(Error::setting(
                "pin",
                position,
                format!("it must lie within the {} cells asked for", config.max_tokens),
            ));
        }
    }
    Ok(())
}
