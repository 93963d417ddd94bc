//! Multi-head attention, and which keys a query sees.

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Shape, Tensor};
use lldm_kernels::{AttentionShape, VisibleKeys};

use super::slices::{slice, tensor};
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
    /// Kept by the forward pass for the backward one.
    log_sum_exp: OnceLock<Vec<f32>>,
}

/// Queries [B, Lq, H, Dh], keys and values [B, Lk, H, Dh] to [B, Lq, H, Dh], scaled by 1 / sqrt(Dh).
pub fn attend(query: &Tensor, key: &Tensor, value: &Tensor, visibility: Visibility) -> Result<Tensor> {
    Ok(query.apply_op3(key, value, Attend { visibility, log_sum_exp: OnceLock::new() })?)
}

impl VisibleKeys for Keys {
    fn ranges(&self, query: usize) -> [Range<usize>; 2] {
        let block_end = |at: usize, block_length: usize| (at / block_length + 1) * block_length;
        match self.visibility {
            Visibility::Full => [0..self.count, 0..0],
            Visibility::Causal { cached } => [0..cached + query + 1, 0..0],
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
    fn shape(query: &Shape, key: &Shape) -> candle_core::Result<AttentionShape> {
        let (batch, queries, heads, head_dim) = query.dims4()?;
        Ok(AttentionShape { batch, heads, queries, keys: key.dims4()?.1, head_dim })
    }
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
        let shape = Self::shape(query_layout.shape(), key_layout.shape())?;
        let (query, key, value) = (slice(query, query_layout)?, slice(key, key_layout)?, slice(value, value_layout)?);
        let keys = Keys { visibility: self.visibility, count: shape.keys };
        let mut out = vec![0.0; query.len()];
        let mut log_sum_exp = vec![0.0; shape.lse_len()];
        let scale = (shape.head_dim as f32).powf(-0.5);
        lldm_kernels::attention(shape, query, key, value, scale, &keys, &mut out, Some(&mut log_sum_exp));
        // The op belongs to one call of `attend`, so this is the first and only value.
        let _ = self.log_sum_exp.set(log_sum_exp);
        Ok((CpuStorage::F32(out), query_layout.shape().clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = Self::shape(query.shape(), key.shape())?;
        let grad = grad.contiguous()?;
        let (q, k, v, g) = (tensor(query)?, tensor(key)?, tensor(value)?, tensor(&grad)?);
        let keys = Keys { visibility: self.visibility, count: shape.keys };
        let (mut grad_q, mut grad_k, mut grad_v) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let scale = (shape.head_dim as f32).powf(-0.5);
        let lse = self.log_sum_exp.get().map_or(&[][..], Vec::as_slice);
        lldm_kernels::attention_backward(
            shape,
            &q,
            &k,
            &v,
            scale,
            &keys,
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
