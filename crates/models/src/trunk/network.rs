//! Our own small transformer: the one trunk of every model that we train ourselves.
//!
//! Qwen3's dense shape: RMSNorm, rotary positions, QK-norm, SwiGLU, tied embeddings, no biases; attention is full,
//! causal or block-causal. Families that know their time add an embedding of t to every cell. Tensors carry Qwen3's
//! names.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use lldm_diffusion::{Noise, Token};

use super::config::TrunkConfig;
use super::time_embedding::TimeEmbedding;
use crate::error::{Error, Result};
use crate::nn::{
    Backend, CrossEntropy, DecoderBlock, DecoderBlockConfig, Embedding, FeedForwardKind, KvCache, Part, RmsNorm, Rope,
    RopeTables, Visibility, Weights, decode, select_rows,
};

/// The network.
#[derive(Clone)]
pub struct Trunk {
    config: TrunkConfig,
    noise: Arc<dyn Noise>,
    embedding: Embedding,
    time: Option<TimeEmbedding>,
    blocks: Vec<DecoderBlock>,
    norm: RmsNorm,
    rope: Arc<RopeTables>,
    backend: Backend,
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
            rope: Arc::new(RopeTables::new(block.head_width, config.rope_theta)),
            backend: weights.backend(),
        })
    }

    /// Who computes its layers.
    pub fn backend(&self) -> &Backend {
        &self.backend
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
        let (rope, mut x) = (self.rope(positions)?, self.embedded(tokens, batch, times)?);
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
        let (rope, x) = (self.rope(positions)?, self.embedded(tokens, batch, times)?);
        decode(&self.blocks, &self.norm, &x, batch, Some(&rope), visibility, Some(rows))
    }

    /// The logits of N hidden vectors: [N, D] to [N, V].
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Part::Logits.time(|| self.embedding.logits(hidden))
    }

    /// The same numbers in host memory, row by row: `N V` of them.
    pub fn logit_values(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        Part::Logits.time(|| self.embedding.logit_values(hidden))
    }

    /// The sum over N hidden vectors [N, D] of weight * -ln softmax(logits) at the target: a scalar.
    pub fn cross_entropy(&self, hidden: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
        self.embedding.cross_entropy(hidden, spec)
    }

    fn trains_in_bf16(&self) -> bool {
        self.blocks.iter().all(DecoderBlock::trains_in_bf16)
    }

    fn rope(&self, positions: &[usize]) -> Result<Rope> {
        self.rope.at(positions).on(&self.backend)
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
