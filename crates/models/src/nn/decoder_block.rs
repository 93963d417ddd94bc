//! One transformer layer: attention and feed-forward, each behind an RMSNorm, each added to the residual stream.
//!
//! The shape of Qwen3's dense layer (QK-norm, rotary positions, SwiGLU, no biases), under its tensor names; QK-norm and rotary
//! positions may be left out, and the feed-forward layer may be the plain one with GELU.

use candle_core::Tensor;
use lldm_kernels::{Gelu, SplitHeads, vector};

use super::attention::Visibility;
use super::candle::Backend;
use super::gelu_mlp::GeluMlp;
use super::kv_cache::LayerCache;
use super::linear::Linear;
use super::mlp::SwiGlu;
use super::norm::RmsNorm;
use super::parts::Part;
use super::rope::Rope;
use super::slices::{change_values, tensor, with_values};
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
    /// Whether queries and keys are normalised.
    pub qk_norm: bool,
    /// The feed-forward layer.
    pub feed_forward: FeedForwardKind,
}

/// Which feed-forward layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// down(silu(gate(x)) * up(x)).
    #[default]
    SwiGlu,
    /// down(gelu(up(x))).
    Gelu(Gelu),
}

/// A feed-forward layer.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// The gated one.
    SwiGlu(SwiGlu),
    /// The plain one.
    Gelu(GeluMlp),
}

/// One layer.
#[derive(Clone, Debug)]
pub struct DecoderBlock {
    pub(super) config: DecoderBlockConfig,
    pub(super) input_norm: RmsNorm,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    /// Those of queries and keys.
    pub(super) head_norms: Option<(RmsNorm, RmsNorm)>,
    pub(super) output: Linear,
    pub(super) inner_norm: RmsNorm,
    pub(super) feed_forward: FeedForward,
    backend: Backend,
}

impl DecoderBlock {
    /// Reads the layer called `name`.
    pub fn new(weights: &mut dyn Weights, name: &str, config: DecoderBlockConfig) -> Result<Self> {
        let DecoderBlockConfig { width, heads, head_width, inner, eps, qk_norm, feed_forward } = config;
        let joined = heads * head_width;
        let spread = Init::Normal((width as f64).powf(-0.5));
        let attention = format!("{name}.self_attn");
        Ok(Self {
            config,
            input_norm: RmsNorm::new(weights, &format!("{name}.input_layernorm"), width, eps)?,
            query: Linear::new(weights, &format!("{attention}.q_proj"), width, joined, spread)?,
            key: Linear::new(weights, &format!("{attention}.k_proj"), width, joined, spread)?,
            value: Linear::new(weights, &format!("{attention}.v_proj"), width, joined, spread)?,
            head_norms: match qk_norm {
                true => Some((
                    RmsNorm::new(weights, &format!("{attention}.q_norm"), head_width, eps)?,
                    RmsNorm::new(weights, &format!("{attention}.k_norm"), head_width, eps)?,
                )),
                false => None,
            },
            output: Linear::new(weights, &format!("{attention}.o_proj"), joined, width, Init::Zeros)?,
            inner_norm: RmsNorm::new(weights, &format!("{name}.post_attention_layernorm"), width, eps)?,
            feed_forward: FeedForward::new(weights, &format!("{name}.mlp"), width, inner, feed_forward)?,
            backend: weights.backend(),
        })
    }

    /// Whether a stack of such layers can be one op: it multiplies in bf16 and may still change.
    pub(crate) fn trains_in_bf16(&self) -> bool {
        self.query.trains_in_bf16()
    }

    /// [B * L, D] to [B * L, D]. With a cache (B = 1) the queries also see its P tokens; `store` adds the new ones.
    pub fn forward(
        &self,
        x: &Tensor,
        batch: usize,
        rope: Option<&Rope>,
        visibility: Visibility,
        cache: Option<(&mut LayerCache, bool)>,
    ) -> Result<Tensor> {
        let DecoderBlockConfig { heads, head_width, .. } = self.config;
        let length = x.dim(0)? / batch;
        let shape = (batch, length, heads, head_width);
        let normed = Part::Norms.time(|| self.input_norm.forward(x))?;
        let [mut query, mut key, value] = Part::Projections.time(|| -> Result<_> {
            let project = |layer: &Linear| -> Result<Tensor> { Ok(layer.forward(&normed)?.reshape(shape)?) };
            Ok([project(&self.query)?, project(&self.key)?, project(&self.value)?])
        })?;
        let attended = Part::Attention.time(|| -> Result<_> {
            if let Some((query_norm, key_norm)) = &self.head_norms {
                (query, key) = (query_norm.forward(&query)?, key_norm.forward(&key)?);
            }
            if let Some(rope) = rope {
                (query, key) = (rope.rotate(&query)?, rope.rotate(&key)?);
            }
            let cached = cache.as_ref().map_or(&[][..], |(cache, _)| cache.segments());
            let scale = (head_width as f32).powf(-0.5);
            let attended = self.backend.attend(&query, cached, &key, &value, visibility, scale)?;
            if let Some((cache, true)) = cache {
                cache.append(key, value)?;
            }
            Ok(attended.reshape((batch * length, heads * head_width))?)
        })?;
        let x = add(x, Part::Projections.time(|| self.output.forward(&attended))?)?;
        let normed = Part::Norms.time(|| self.inner_norm.forward(&x))?;
        let inner = Part::FeedForward.time(|| self.feed_forward.forward(&normed))?;
        add(&x, inner)
    }
}

/// The residual stream with what a layer adds to it; untracked values are changed where they lie.
fn add(stream: &Tensor, by: Tensor) -> Result<Tensor> {
    if stream.track_op() || by.track_op() || !by.device().is_cpu() {
        return Ok((stream + by)?);
    }
    Part::Residual.time(|| with_values(stream, |stream| change_values(&by, |by| vector::add(stream, by))))??;
    Ok(by)
}

impl DecoderBlock {
    /// The layers that make queries, keys and values.
    pub(super) fn projections(&self) -> Vec<&Linear> {
        vec![&self.query, &self.key, &self.value]
    }

    /// Shows to `f` what lies between the joined product of the projections and the attention.
    pub(super) fn with_split(&self, rope: Option<&Rope>, f: impl FnOnce(SplitHeads<'_>)) -> candle_core::Result<()> {
        let norms = self.head_norms.as_ref();
        let weights =
            norms.map(|(query, key)| Ok::<_, candle_core::Error>([tensor(query.weight())?, tensor(key.weight())?]));
        let weights = weights.transpose()?;
        let eps = norms.map_or(0.0, |(query, _)| query.eps());
        f(SplitHeads {
            heads: self.config.heads,
            head_dim: self.config.head_width,
            norms: weights.as_ref().map(|[query, key]| ([&**query, &**key], eps)),
            rotation: rope.map(Rope::rotation),
        });
        Ok(())
    }
}

impl FeedForward {
    /// The layers from D to the inner units.
    pub(super) fn widening(&self) -> Vec<&Linear> {
        match self {
            Self::SwiGlu(mlp) => vec![&mlp.gate, &mlp.up],
            Self::Gelu(mlp) => vec![&mlp.up],
        }
    }

    /// The layer back to D.
    pub(super) fn narrowing(&self) -> &Linear {
        match self {
            Self::SwiGlu(mlp) => &mlp.down,
            Self::Gelu(mlp) => &mlp.down,
        }
    }

    /// Reads the layer called `name`, for width D and F inner units.
    pub fn new(
        weights: &mut dyn Weights,
        name: &str,
        width: usize,
        inner: usize,
        kind: FeedForwardKind,
    ) -> Result<Self> {
        Ok(match kind {
            FeedForwardKind::SwiGlu => Self::SwiGlu(SwiGlu::new(weights, name, width, inner)?),
            FeedForwardKind::Gelu(form) => Self::Gelu(GeluMlp::new(weights, name, width, inner, form)?),
        })
    }

    /// [N, D] to [N, D].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::SwiGlu(mlp) => mlp.forward(x),
            Self::Gelu(mlp) => mlp.forward(x),
        }
    }
}
