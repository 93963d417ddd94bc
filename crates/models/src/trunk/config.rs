//! config.json of the trunk: its sizes, its tokens, what it sees, and what its text was noised by.

use serde::{Deserialize, Serialize};

use lldm_diffusion::Token;
use lldm_diffusion::noise::registry::Space;

use crate::error::{Error, Result};
use crate::nn::Visibility;
use crate::process::{Answers, NoiseConfig};

/// The `model_type` in config.json.
pub const MODEL_TYPE: &str = "lldm_trunk";

/// Which cells a cell sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// All of them: diffusion of the whole canvas.
    Full,
    /// Those to its left and itself: autoregressive.
    Causal,
    /// Its own block and those to its left: block diffusion.
    BlockCausal,
}

/// config.json of the trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// Always [`MODEL_TYPE`].
    pub model_type: String,
    /// V, the special tokens included.
    pub vocab_size: usize,
    /// D.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// H; the width of a head is D / H.
    pub num_attention_heads: usize,
    /// Inner units of the feed-forward layers.
    pub intermediate_size: usize,
    /// The largest P + L.
    pub max_position_embeddings: usize,
    /// The base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Epsilon of the norms.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Which cells a cell sees.
    pub attention: Attention,
    /// Cells of a block, for block-causal attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_length: Option<usize>,
    /// Whether t enters the network.
    #[serde(default)]
    pub time_input: bool,
    /// The mask token.
    pub mask_token_id: Token,
    /// The token that ends a text; a causal trunk also begins with it.
    pub eos_token_id: Token,
    /// The token that fills up rows in training.
    pub pad_token_id: Token,
    /// A token that stands before every context of a trunk with full attention. Where documents were packed into rows it
    /// is the end token: what follows it is the beginning of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<Token>,
    /// What the text was noised by in training; masked noise on the linear schedule where nothing is said.
    #[serde(default, skip_serializing_if = "NoiseConfig::is_default")]
    pub noise: NoiseConfig,
    /// What the outputs are; logits of the clean token where nothing is said.
    #[serde(default, skip_serializing_if = "Answers::is_default")]
    pub answers: Answers,
}

impl TrunkConfig {
    /// The vocabulary that the noise works on.
    pub fn space(&self) -> Space {
        Space { vocabulary: self.vocab_size, mask: Some(self.mask_token_id) }
    }

    /// How the tokens of a row see one another when `cached` tokens stand before them.
    pub fn visibility(&self, cached: usize) -> Visibility {
        match self.attention {
            Attention::Full => Visibility::Full,
            Attention::Causal => Visibility::Causal { cached },
            Attention::BlockCausal => Visibility::BlockCausal { block_length: self.block_length.unwrap_or(1), cached },
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::format("config.json", message));
        if self.model_type != MODEL_TYPE {
            return fail(format!("model_type is `{}`, but this is the loader of `{MODEL_TYPE}`", self.model_type));
        }
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 {
                return fail(format!("{name} is 0"));
            }
        }
        if !self.hidden_size.is_multiple_of(2 * self.num_attention_heads) {
            return fail(format!(
                "hidden_size {} is not an even multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if (self.attention == Attention::BlockCausal) != self.block_length.is_some_and(|length| length > 0) {
            return fail("block_length belongs to block_causal attention, and to it alone".to_string());
        }
        if self.bos_token_id.is_some() && self.attention != Attention::Full {
            return fail("bos_token_id belongs to full attention, and to it alone".to_string());
        }
        for token in [self.mask_token_id, self.eos_token_id, self.pad_token_id].into_iter().chain(self.bos_token_id) {
            if token as usize >= self.vocab_size {
                return fail(format!("token id {token} lies outside of vocab_size {}", self.vocab_size));
            }
        }
        Ok(())
    }
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_eps() -> f64 {
    1e-6
}
