//! One transformer layer: attention and feed-forward, each behind an RMSNorm, each added to the residual stream.
//!
//! The shape of Qwen3's dense layer (QK-norm, rotary positions, SwiGLU, no biases), under its tensor names.

use candle_core::Tensor;

use super::attention::{Visibility, attend_cached};
use super::kv_cache::LayerCache;
use super::linear::Linear;
use super::mlp::SwiGlu;
use super::norm::RmsNorm;
use super::rope::Rope;
use super::weights::{Init, Weights};
use crate::error::Result;

/// The sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecoderBlockConfig {
    /// Width D.
    pub width: usize,
    /// Heads H.
    pub heads: usize,
    /// Width of a head Dh.
    pub head_width: usize,
    /// Inner units of the feed-forward layer.
    pub inner: usize,
    /// Epsilon of the norms.
    pub eps: f64,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct DecoderBlock {
    config: DecoderBlockConfig,
    input_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    output: Linear,
    inner_norm: RmsNorm,
    mlp: SwiGlu,
}

impl DecoderBlock {
    /// Reads the layer called `name`.
    pub fn new(weights: &mut dyn Weights, name: &str, config: DecoderBlockConfig) -> Result<Self> {
        let DecoderBlockConfig { width, heads, head_width, inner, eps } = config;
        let joined = heads * head_width;
        let spread = Init::Normal((width as f64).powf(-0.5));
        let attention = format!("{name}.self_attn");
        Ok(Self {
            config,
            input_norm: RmsNorm::new(weights, &format!("{name}.input_layernorm"), width, eps)?,
            query: Linear::new(weights, &format!("{attention}.q_proj"), width, joined, spread)?,
            key: Linear::new(weights, &format!("{attention}.k_proj"), width, joined, spread)?,
            value: Linear::new(weights, &format!("{attention}.v_proj"), width, joined, spread)?,
            query_norm: RmsNorm::new(weights, &format!("{attention}.q_norm"), head_width, eps)?,
            key_norm: RmsNorm::new(weights, &format!("{attention}.k_norm"), head_width, eps)?,
            output: Linear::new(weights, &format!("{attention}.o_proj"), joined, width, Init::Zeros)?,
            inner_norm: RmsNorm::new(weights, &format!("{name}.post_attention_layernorm"), width, eps)?,
            mlp: SwiGlu::new(weights, &format!("{name}.mlp"), width, inner)?,
        })
    }

    /// [B * L, D] to [B * L, D]. With a cache (B = 1) the queries also see its P tokens; `store` adds the new ones.
    pub fn forward(
        &self,
        x: &Tensor,
        batch: usize,
        rope: &Rope,
        visibility: Visibility,
        cache: Option<(&mut LayerCache, bool)>,
    ) -> Result<Tensor> {
        let DecoderBlockConfig { heads, head_width, .. } = self.config;
        let length = x.dim(0)? / batch;
        let shape = (batch, length, heads, head_width);
        let normed = self.input_norm.forward(x)?;
        let query = rope.rotate(&self.query_norm.forward(&self.query.forward(&normed)?.reshape(shape)?)?)?;
        let key = rope.rotate(&self.key_norm.forward(&self.key.forward(&normed)?.reshape(shape)?)?)?;
        let value = self.value.forward(&normed)?.reshape(shape)?;
        let cached = cache.as_ref().map_or(&[][..], |(cache, _)| cache.segments());
        let scale = (head_width as f32).powf(-0.5);
        let attended = attend_cached(&query, cached, &key, &value, visibility, scale)?;
        if let Some((cache, true)) = cache {
            cache.append(key, value)?;
        }
        let attended = attended.reshape((batch * length, heads * head_width))?;
        let x = (x + self.output.forward(&attended)?)?;
        let inner = self.mlp.forward(&self.inner_norm.forward(&x)?)?;
        Ok((x + inner)?)
    }
}
