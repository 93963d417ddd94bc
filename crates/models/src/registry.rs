//! The settings that a checkpoint or the paper of its family asks for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use lldm_diffusion::{Compat, EndRule};

use crate::trunk::{Attention, TrunkConfig};

/// The settings that a checkpoint asks for: `generation_config.json`, else the family's defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// The sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<String>,
    /// The sampler's parameters.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub sampler_parameters: Map<String, Value>,
    /// The most tokens that are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Cells denoised together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canvas_length: Option<usize>,
    /// Cells of a block within a canvas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_length: Option<usize>,
    /// The sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The most probable tokens that are kept; 0 keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// The probability that the kept tokens hold; 1 keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The penalty of tokens that stand in the text already; 1 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// The scale of classifier-free guidance; 0 guides nowhere and costs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// Where an end token may be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_rule: Option<EndRule>,
    /// Whether defects of reference implementations are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compat: Option<Compat>,
}

/// What a trunk's paper asks for, by its attention and its noise.
pub fn trunk_defaults(config: &TrunkConfig) -> Defaults {
    let (masked, canvas_length) = match config.attention {
        Attention::Full => ("low_confidence", None),
        Attention::BlockCausal => ("first_hitting", config.block_length),
        Attention::Causal => ("left_to_right", Some(1)),
    };
    // Only the posterior of the noise itself may change a token that is written.
    let sampler = if config.noise.name == "masked" { masked } else { "ancestral" };
    Defaults { sampler: Some(sampler.to_string()), canvas_length, block_length: canvas_length, ..Defaults::default() }
}

impl Defaults {
    /// These settings, and where they are silent those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let same_sampler = self.sampler.is_none() || self.sampler == other.sampler;
        let mut sampler_parameters = if same_sampler { other.sampler_parameters } else { Map::new() };
        sampler_parameters.extend(self.sampler_parameters);
        Self {
            sampler: self.sampler.or(other.sampler),
            sampler_parameters,
            max_tokens: self.max_tokens.or(other.max_tokens),
            canvas_length: self.canvas_length.or(other.canvas_length),
            block_length: self.block_length.or(other.block_length),
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            repetition_penalty: self.repetition_penalty.or(other.repetition_penalty),
            guidance_scale: self.guidance_scale.or(other.guidance_scale),
            end_rule: self.end_rule.or(other.end_rule),
            compat: self.compat.or(other.compat),
        }
    }
}
