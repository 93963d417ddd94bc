//! Attention, which keys a query sees, and keys that stand in a cache before it.
//!
//! Keys and values may have fewer heads than the queries, any divisor (grouped queries, Ainslie et al. 2023).

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Shape, Tensor};
use lldm_kernels::{AttentionShape, KeyValues, VisibleKeys};

use super::candle::{Backend, attention};
use super::slices::{Values, slice, tensor};
use crate::error::Result;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All.
    Full,
    /// Those at its own position and before; `cached` keys stand before the first query.
    Causal {
        /// Keys before the first query.
        cached: usize,
    },
    /// The last `window` of those at its own position and before.
    CausalWindow {
        /// How many keys a query sees at most, its own among them.
        window: usize,
        /// Keys before the first query.
        cached: usize,
    },
    /// All of the canvas and the end of the prefix: what a causal window shows to the first cell, the last `window` - 1
    /// cached keys. So DiffusionGemma's sliding layers denoise.
    CanvasWindow {
        /// The causal window.
        window: usize,
        /// Keys before the first query.
        cached: usize,
    },
    /// Those of its own block and of the blocks before; blocks are counted from the first key.
    BlockCausal {
        /// Cells of a block.
        block_length: usize,
        /// Keys before the first query.
        cached: usize,
    },
    /// Training of block diffusion: L noised tokens, then the same L clean (BD3-LM, Arriola et al. 2025, section 3.2).
    /// A noised block sees itself and the clean blocks before it; the clean half is block-causal.
    BlockDiffusion {
        /// L.
        length: usize,
        /// Cells of a block.
        block_length: usize,
    },
}

/// The keys of one row under a [`Visibility`].
pub(super) struct Keys {
    pub(super) visibility: Visibility,
    pub(super) count: usize,
}

struct Attend {
    visibility: Visibility,
    scale: f32,
    /// Keys and values before those of the op; constants.
    cached: Vec<(Tensor, Tensor)>,
    /// Kept by the forward pass for the backward one.
    log_sum_exp: OnceLock<Vec<f32>>,
}

/// Queries [B, Lq, H, Dh], keys and values [B, Lk, KV, Dh] to [B, Lq, H, Dh], scaled by 1 / sqrt(Dh).
pub fn attend(query: &Tensor, key: &Tensor, value: &Tensor, visibility: Visibility) -> Result<Tensor> {
    let scale = (query.dim(3)? as f32).powf(-0.5);
    attend_cached(query, &[], key, value, visibility, scale)
}

/// Attention that also sees `cached` keys and values, each [B, P, KV, Dh], before the new ones; scores are multiplied by
/// `scale`. The bits are those of concatenated keys, but nothing is copied, unless gradients flow into the cached tensors.
pub fn attend_cached(
    query: &Tensor,
    cached: &[(Tensor, Tensor)],
    key: &Tensor,
    value: &Tensor,
    visibility: Visibility,
    scale: f32,
) -> Result<Tensor> {
    let op = |cached| Attend { visibility, scale, cached, log_sum_exp: OnceLock::new() };
    if cached.iter().any(|(key, value)| key.track_op() || value.track_op()) {
        let joined = |new, old: fn(&(Tensor, Tensor)) -> &Tensor| {
            Tensor::cat(&cached.iter().map(old).chain([new]).collect::<Vec<_>>(), 1)
        };
        let (key, value) = (joined(key, |(key, _)| key)?, joined(value, |(_, value)| value)?);
        return Ok(query.apply_op3(&key, &value, op(Vec::new()))?);
    }
    Ok(query.apply_op3(key, value, op(cached.to_vec()))?)
}

impl Backend {
    /// [`attend_cached`] on tensors of this backend.
    pub fn attend(
        &self,
        query: &Tensor,
        cached: &[(Tensor, Tensor)],
        key: &Tensor,
        value: &Tensor,
        visibility: Visibility,
        scale: f32,
    ) -> Result<Tensor> {
        match self {
            Self::Kernels => attend_cached(query, cached, key, value, visibility, scale),
            Self::Candle(candle) => Ok(attention::attend(candle, query, cached, [key, value], visibility, scale)?),
        }
    }
}

impl VisibleKeys for Keys {
    fn ranges(&self, query: usize) -> [Range<usize>; 2] {
        let block_end = |at: usize, block_length: usize| (at / block_length + 1) * block_length;
        match self.visibility {
            Visibility::Full => [0..self.count, 0..0],
            Visibility::Causal { cached } => [0..cached + query + 1, 0..0],
            Visibility::CausalWindow { window, cached } => {
                let end = cached + query + 1;
                [end.saturating_sub(window)..end, 0..0]
            }
            Visibility::CanvasWindow { window, cached } => {
                [(cached + 1).saturating_sub(window.max(1))..self.count, 0..0]
            }
            Visibility::BlockCausal { block_length, cached } => {
                [0..block_end(cached + query, block_length).min(self.count), 0..0]
            }
            Visibility::BlockDiffusion { length, block_length } if query < length => {
                let start = query / block_length * block_length;
                [start..block_end(query, block_length).min(length), length..length + start]
            }
            Visibility::BlockDiffusion { length, block_length } => {
                [length..length + block_end(query - length, block_length).min(length), 0..0]
            }
        }
    }
}

impl Attend {
    fn shape(&self, query: &Shape, new_shape: &Shape) -> candle_core::Result<AttentionShape> {
        let (batch, queries, heads, head_dim) = query.dims4()?;
        let (_, mut keys, kv_heads, _) = new_shape.dims4()?;
        for (key, value) in &self.cached {
            let (cached_batch, length, cached_heads, cached_dim) = key.dims4()?;
            if (cached_batch, cached_heads, cached_dim) != (batch, kv_heads, head_dim) || key.dims() != value.dims() {
                candle_core::bail!(
                    "cached keys {:?} and values {:?} do not go with new keys {new_shape:?}",
                    key.dims(),
                    value.dims()
                );
            }
            keys += length;
        }
        Ok(AttentionShape { batch, heads, kv_heads, queries, keys, head_dim })
    }

    /// The cached keys and values, borrowed.
    fn values(&self) -> candle_core::Result<Vec<[Values<'_>; 2]>> {
        self.cached.iter().map(|(key, value)| Ok([tensor(key)?, tensor(value)?])).collect()
    }
}

/// Cached keys and values before the new ones.
fn segments<'a>(cached: &'a [[Values<'_>; 2]], keys: &'a [f32], values: &'a [f32]) -> Vec<KeyValues<'a>> {
    let cached = cached.iter().map(|[keys, values]| KeyValues { keys, values });
    cached.chain([KeyValues { keys, values }]).collect()
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = self.shape(query_layout.shape(), key_layout.shape())?;
        let (query, key, value) = (slice(query, query_layout)?, slice(key, key_layout)?, slice(value, value_layout)?);
        let cached = self.values()?;
        let keys = Keys { visibility: self.visibility, count: shape.keys };
        let mut out = vec![0.0; query.len()];
        let mut log_sum_exp = vec![0.0; shape.lse_len()];
        let segments = segments(&cached, key, value);
        lldm_kernels::attention(shape, query, &segments, self.scale, &keys, &mut out, Some(&mut log_sum_exp));
        // The op belongs to one call, so this is the first and only value.
        let _ = self.log_sum_exp.set(log_sum_exp);
        Ok((CpuStorage::F32(out), query_layout.shape().clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = self.shape(query.shape(), key.shape())?;
        let grad = grad.contiguous()?;
        let (q, k, v, o, g) = (tensor(query)?, tensor(key)?, tensor(value)?, tensor(out)?, tensor(&grad)?);
        let cached = self.values()?;
        let keys = Keys { visibility: self.visibility, count: shape.keys };
        let (mut grad_q, mut grad_k, mut grad_v) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let lse = self.log_sum_exp.get().map_or(&[][..], Vec::as_slice);
        lldm_kernels::attention_backward(
            shape,
            &q,
            &segments(&cached, &k, &v),
            self.scale,
            &keys,
            &o,
            lse,
            &g,
            &mut grad_q,
            &mut grad_k,
            &mut grad_v,
        );
        let out = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some);
        Ok((out(grad_q, query)?, out(grad_k, key)?, out(grad_v, value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(visibility: Visibility, count: usize, query: usize) -> Vec<usize> {
        Keys { visibility, count }.ranges(query).into_iter().flatten().collect()
    }

    #[test]
    fn a_window_ends_at_the_query() {
        let window = Visibility::CausalWindow { window: 3, cached: 4 };
        assert_eq!(seen(window, 9, 0), [2, 3, 4]);
        assert_eq!(seen(window, 9, 4), [6, 7, 8]);
        let wide = Visibility::CausalWindow { window: 8, cached: 4 };
        assert_eq!(seen(wide, 9, 1), [0, 1, 2, 3, 4, 5]);
        assert_eq!(seen(Visibility::CausalWindow { window: 1, cached: 0 }, 3, 2), [2]);
    }

    /// A mask of DiffusionGemma's tiny model: a prompt of 13, a canvas of 8, a window of 6.
    #[test]
    fn a_canvas_sees_itself_and_what_a_window_shows_its_first_cell() {
        let canvas = Visibility::CanvasWindow { window: 6, cached: 13 };
        let first = seen(Visibility::CausalWindow { window: 6, cached: 13 }, 21, 0);
        for query in 0..8 {
            let keys = seen(canvas, 21, query);
            assert_eq!(keys, (8..21).collect::<Vec<_>>());
            assert_eq!(keys[..5], first[..5]);
            assert_eq!(keys[5..], (13..21).collect::<Vec<_>>());
        }
        assert_eq!(seen(Visibility::CanvasWindow { window: 6, cached: 2 }, 4, 1), [0, 1, 2, 3]);
        assert_eq!(seen(Visibility::CanvasWindow { window: 1, cached: 2 }, 4, 1), [2, 3]);
    }

    #[test]
    fn blocks_see_themselves_and_what_is_before() {
        assert_eq!(seen(Visibility::Full, 3, 0), [0, 1, 2]);
        assert_eq!(seen(Visibility::Causal { cached: 2 }, 5, 1), [0, 1, 2, 3]);
        let block = Visibility::BlockCausal { block_length: 2, cached: 2 };
        assert_eq!(seen(block, 5, 0), [0, 1, 2, 3]);
        assert_eq!(seen(block, 5, 2), [0, 1, 2, 3, 4]);
        let train = Visibility::BlockDiffusion { length: 5, block_length: 2 };
        assert_eq!(seen(train, 10, 0), [0, 1]);
        assert_eq!(seen(train, 10, 3), [2, 3, 5, 6]);
        assert_eq!(seen(train, 10, 4), [4, 5, 6, 7, 8]);
        assert_eq!(seen(train, 10, 5), [5, 6]);
        assert_eq!(seen(train, 10, 9), [5, 6, 7, 8, 9]);
    }
}
