//! Attention without a matrix of all queries and keys, beside candle's products with a softmax between them.

use anyhow::Result;
use candle_core::{Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use lldm_kernels::peak::f32_instruction;
use lldm_kernels::{AttentionShape, KeyValues, all_keys, attention};

use super::report::Row;
use super::setting::{Setting, values};
use crate::render::plain;

/// A canvas of DiffusionGemma over a cached prefix (a sliding and a full layer), LLaDA's 8B, and a batch as in training.
const SHAPES: [AttentionShape; 4] = [
    AttentionShape { batch: 1, heads: 16, kv_heads: 8, queries: 256, keys: 1279, head_dim: 256 },
    AttentionShape { batch: 1, heads: 16, kv_heads: 2, queries: 256, keys: 1279, head_dim: 512 },
    AttentionShape { batch: 1, heads: 32, kv_heads: 32, queries: 256, keys: 512, head_dim: 128 },
    AttentionShape { batch: 16, heads: 6, kv_heads: 6, queries: 256, keys: 256, head_dim: 64 },
];

/// A row for each shape.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for shape in SHAPES.into_iter().filter(|_| setting.wants("attention")) {
        let AttentionShape { batch, heads, kv_heads, queries, keys, head_dim } = shape;
        plain::note(&format!(
            "measuring attention, {heads} heads of {head_dim}, {queries} x {keys}, {kv_heads} of keys"
        ));
        let key_len = batch * keys * kv_heads * head_dim;
        let (q, k, v) = (values(batch * queries * heads * head_dim), values(key_len), values(key_len));
        let scale = (head_dim as f32).powf(-0.5);
        let mut out = vec![0.0; q.len()];
        // candle's products want [B, H, L, Dh], keys once for each head: laid out before.
        let lay = |values: &[f32], length: usize, of: usize| -> Result<Tensor> {
            let all = Tensor::from_slice(values, (batch, length, of, head_dim), &Device::Cpu)?.transpose(1, 2)?;
            let each = (batch, of, heads / of, length, head_dim);
            let all = all.unsqueeze(2)?.broadcast_as(each)?.contiguous()?;
            Ok(all.reshape((batch * heads, length, head_dim))?)
        };
        let (tq, tk, tv) = (lay(&q, queries, heads)?, lay(&k, keys, kv_heads)?.t()?, lay(&v, keys, kv_heads)?);
        let path = f32_instruction();
        let peak = setting.peak_of(path, "f32");
        let (seconds, peak) = setting.beside(
            peak,
            &mut [
                &mut || {
                    let segment = KeyValues { keys: &k, values: &v };
                    attention(shape, &q, &[segment], scale, &all_keys(keys), &mut out, None);
                    Ok(())
                },
                &mut || {
                    let scores = (tq.matmul(&tk)? * f64::from(scale))?;
                    softmax_last_dim(&scores)?.matmul(&tv)?;
                    Ok(())
                },
            ],
        )?;
        let work = 4.0 * (batch * heads * queries * keys * head_dim) as f64;
        let sizes = [batch, heads, kv_heads, head_dim, queries, keys];
        rows.push(Row::new(setting, "attention", path, "f32", peak, &sizes, work, &seconds));
    }
    Ok(rows)
}
