//! Attention composed of candle's own operations. The scores of all queries stand in memory, B * H * Lq * Lk of them.

use candle_core::{D, Device, Result, Tensor};
use lldm_kernels::VisibleKeys;

use super::backend::CandleBackend;
use crate::nn::Visibility;
use crate::nn::attention::Keys;

/// Queries [B, Lq, H, Dh], keys and values [B, Lk, KV, Dh] behind cached ones [B, P, KV, Dh], to [B, Lq, H, Dh].
pub(in crate::nn) fn attend(
    backend: &CandleBackend,
    query: &Tensor,
    cached: &[(Tensor, Tensor)],
    [key, value]: [&Tensor; 2],
    visibility: Visibility,
    scale: f32,
) -> Result<Tensor> {
    let joined = |new, old: fn(&(Tensor, Tensor)) -> &Tensor| match cached {
        [] => Ok(Tensor::clone(new)),
        _ => Tensor::cat(&cached.iter().map(old).chain([new]).collect::<Vec<_>>(), 1),
    };
    let (key, value) = (joined(key, |(key, _)| key)?, joined(value, |(_, value)| value)?);
    let (batch, queries, heads, head_dim) = query.dims4()?;
    let (_, keys, kv_heads, _) = key.dims4()?;
    // Heads that share keys are rows of one product.
    let group = heads / kv_heads.max(1);
    let rows = query.transpose(1, 2)?.contiguous()?.reshape((batch, kv_heads, group * queries, head_dim))?;
    let heads_first = |x: &Tensor| x.transpose(1, 2)?.contiguous();
    let scores = (rows.matmul(&heads_first(&key)?.t()?)? * f64::from(scale))?;
    let mut scores = scores.reshape((batch, heads, queries, keys))?;
    let mask = backend.mask((visibility, queries, keys), |device| mask(visibility, queries, keys, device))?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(&mask)?;
    }
    let shifted = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
    let weights = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
    let out = weights.reshape((batch, kv_heads, group * queries, keys))?.matmul(&heads_first(&value)?)?;
    out.reshape((batch, heads, queries, head_dim))?.transpose(1, 2)?.contiguous()
}

/// 0 where a query sees a key, else minus infinity: [Lq, Lk]; nothing where all see all.
fn mask(visibility: Visibility, queries: usize, keys: usize, device: &Device) -> Result<Option<Tensor>> {
    let visible = Keys { visibility, count: keys };
    let mut mask = vec![f32::NEG_INFINITY; queries * keys];
    for (query, row) in mask.chunks_exact_mut(keys.max(1)).enumerate() {
        for range in visible.ranges(query) {
            row[range].fill(0.0);
        }
    }
    if mask.iter().all(|added| *added == 0.0) {
        return Ok(None);
    }
    Tensor::from_vec(mask, (queries, keys), device).map(Some)
}
