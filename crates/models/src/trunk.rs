//! Our own small transformer: the one trunk of every model that we train ourselves.
//!
//! Qwen3's dense shape: RMSNorm, rotary positions, QK-norm, SwiGLU, tied embeddings, no biases; attention is full,
//! causal or block-causal. Families that know their time add an embedding of t to every cell. Tensors carry Qwen3's
//! names.

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use lldm_diffusion::noise::registry::Space;
use lldm_diffusion::{Noise, Token};

use crate::error::{Error, Result};
use crate::nn::{
    CrossEntropy, DecoderBlock, DecoderBlockConfig, Embedding, FeedForwardKind, Init, KvCache, Linear, Part, RmsNorm,
    Rope, Visibility, Weights, add_rows, decode, select_rows,
};
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

/// The network.
#[derive(Clone)]
pub struct Trunk {
    config: TrunkConfig,
    noise: Arc<dyn Noise>,
    embedding: Embedding,
    time: Option<TimeEmbedding>,
    blocks: Vec<DecoderBlock>,
    norm: RmsNorm,
}

/// A two-layer embedding of t (sinusoids as in Vaswani et al. 2017 over 1000 t).
#[derive(Clone, Debug)]
struct TimeEmbedding {
    first: Linear,
    second: Linear,
    width: usize,
}

impl Trunk {
    /// Builds the network from its parameters.
    pub fn new(config: &TrunkConfig, weights: &mut dyn Weights) -> Result<Self> {
        let config = &TrunkConfig { noise: config.noise.resolved()?, ..config.clone() };
        config.check()?;
        let noise = config.noise.build(config.space())?;
        let block = DecoderBlockConfig {
            width: config.hidden_size,
            heads: config.num_attention_heads,
            head_width: config.hidden_size / config.num_attention_heads,
            inner: config.intermediate_size,
            eps: config.rms_norm_eps,
            qk_norm: true,
            feed_forward: FeedForwardKind::SwiGlu,
        };
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| DecoderBlock::new(weights, &format!("model.layers.{layer}"), block))
            .collect::<Result<_>>()?;
        let time = config.time_input.then(|| TimeEmbedding::new(weights, config.hidden_size)).transpose()?;
        Ok(Self {
            config: config.clone(),
            noise: noise.into(),
            embedding: Embedding::new(weights, "model.embed_tokens", config.vocab_size, config.hidden_size)?,
            time,
            blocks,
            norm: RmsNorm::new(weights, "model.norm", config.hidden_size, config.rms_norm_eps)?,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &TrunkConfig {
        &self.config
    }

    /// The process that noised its training text.
    pub fn noise(&self) -> &dyn Noise {
        self.noise.as_ref()
    }

    /// The final hidden vectors of B rows of L tokens: [B * L, D]. `positions` holds the L positions of a row, `times`
    /// the B times for a trunk with time input, or B * L times where the cells of a row differ.
    pub fn hidden(
        &self,
        tokens: &[Token],
        batch: usize,
        positions: &[usize],
        times: Option<&[f64]>,
        visibility: Visibility,
        mut cache: Option<(&mut KvCache, bool)>,
    ) -> Result<Tensor> {
        let (rope, mut x) = (self.rope(positions), self.embedded(tokens, batch, times)?);
        if cache.is_none() && self.trains_in_bf16() {
            return decode(&self.blocks, &self.norm, &x, batch, Some(&rope), visibility, None);
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_mut().map(|(cache, store)| (&mut cache.layers[layer], *store));
            x = block.forward(&x, batch, Some(&rope), visibility, cache)?;
        }
        if let Some((cache, true)) = cache {
            cache.length += positions.len();
        }
        Part::Norms.time(|| self.norm.forward(&x))
    }

    /// As [`Trunk::hidden`] without a cache, of the cells `rows` among the B * L alone: [M, D]. In bf16 the last layer leaves out
    /// what only the others need.
    pub fn hidden_rows(
        &self,
        tokens: &[Token],
        batch: usize,
        positions: &[usize],
        times: Option<&[f64]>,
        visibility: Visibility,
        rows: &[u32],
    ) -> Result<Tensor> {
        if !self.trains_in_bf16() {
            return select_rows(&self.hidden(tokens, batch, positions, times, visibility, None)?, rows.to_vec());
        }
        let (rope, x) = (self.rope(positions), self.embedded(tokens, batch, times)?);
        decode(&self.blocks, &self.norm, &x, batch, Some(&rope), visibility, Some(rows))
    }

    /// The logits of N hidden vectors: [N, D] to [N, V].
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Part::Logits.time(|| self.embedding.logits(hidden))
    }

    /// The sum over N hidden vectors [N, D] of weight * -ln softmax(logits) at the target: a scalar.
    pub fn cross_entropy(&self, hidden: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
        self.embedding.cross_entropy(hidden, spec)
    }

    fn trains_in_bf16(&self) -> bool {
        self.blocks.iter().all(DecoderBlock::trains_in_bf16)
    }

    fn rope(&self, positions: &[usize]) -> Rope {
        Rope::new(positions, self.config.hidden_size / self.config.num_attention_heads, self.config.rope_theta)
    }

    /// The embedded tokens of B rows, with their times: [B * L, D].
    fn embedded(&self, tokens: &[Token], batch: usize, times: Option<&[f64]>) -> Result<Tensor> {
        let x = Part::Embedding.time(|| self.embedding.forward(tokens))?;
        let Some(embedding) = &self.time else { return Ok(x) };
        let times = times.unwrap_or(&[]);
        match times.len() {
            count if count == batch => embedding.add(&x, times),
            count if count == tokens.len() => embedding.add_each(&x, times),
            count => Err(Error::format("time input", format!("{count} times for {batch} rows"))),
        }
    }
}

impl fmt::Debug for Trunk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Trunk").field("config", &self.config).finish_non_exhaustive()
    }
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

    fn check(&self) -> Result<()> {
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

impl TimeEmbedding {
    fn new(weights: &mut dyn Weights, width: usize) -> Result<Self> {
        let spread = Init::Normal((width as f64).powf(-0.5));
        Ok(Self {
            first: Linear::new(weights, "model.time_embedding.0", width, width, spread)?,
            second: Linear::new(weights, "model.time_embedding.2", width, width, Init::Zeros)?,
            width,
        })
    }

    /// Adds the embedding of each row's time to its L vectors.
    fn add(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        let length = x.dim(0)? / times.len();
        let which = (0..times.len() * length).map(|cell| (cell / length) as u32).collect();
        add_rows(x, &self.embed(times)?, which)
    }

    /// Adds the embedding of each vector's own time; stretches of the same time are embedded once.
    fn add_each(&self, x: &Tensor, times: &[f64]) -> Result<Tensor> {
        let mut distinct: Vec<f64> = Vec::new();
        let mut which = Vec::with_capacity(times.len());
        for time in times {
            if distinct.last() != Some(time) {
                distinct.push(*time);
            }
            which.push(distinct.len() as u32 - 1);
        }
        add_rows(x, &self.embed(&distinct)?, which)
    }

    /// The embeddings of N times: [N, D].
    fn embed(&self, times: &[f64]) -> Result<Tensor> {
        let half = self.width / 2;
        let angle = |t: f64, i: usize| 1000.0 * t * (-(i as f64) / half as f64 * 10_000f64.ln()).exp();
        let waves: Vec<f32> = times
            .iter()
            .flat_map(|t| {
                let cosines = (0..half).map(move |i| angle(*t, i).cos() as f32);
                cosines.chain((0..self.width - half).map(move |i| angle(*t, i).sin() as f32))
            })
            .collect();
        let waves = Tensor::from_vec(waves, (times.len(), self.width), &Device::Cpu)?;
        self.second.forward(&self.first.forward(&waves)?.silu()?)
    }
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_eps() -> f64 {
    1e-6
}
