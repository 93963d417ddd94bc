//! The pass over the vocabulary, beside softmax, argmax and entropy done with candle's operations. Its peak is reading the logits
//! from memory once.

use anyhow::Result;
use candle_core::{D, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use lldm_kernels::peak::{Peak, read_rate};
use lldm_kernels::simd_level;
use lldm_kernels::vocab::{Request, Transform, reduce};

use super::report::Row;
use super::setting::{Setting, values};
use crate::render::plain;

/// Rows and tokens: a canvas of DiffusionGemma.
const SHAPE: [usize; 2] = [256, 262_144];

/// The pass with a draw in every row.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    if !setting.wants("vocabulary") {
        return Ok(Vec::new());
    }
    let [rows, tokens] = SHAPE;
    plain::note(&format!("measuring vocabulary, {rows} x {tokens}"));
    let logits: Vec<f32> = values(rows * tokens).into_iter().map(|x| 8.0 * x).collect();
    let tensor = Tensor::from_slice(&logits, (rows, tokens), &Device::Cpu)?;
    let requests: Vec<_> = (0..rows).map(|row| Request { row, key: Some(row as u64), ..Request::default() }).collect();
    let mut drawn = 0;
    let seconds = setting.in_turn(&mut [
        &mut || {
            drawn = reduce(&logits, tokens, &requests, &Transform::PLAIN).len();
            Ok(())
        },
        &mut || {
            let p = softmax_last_dim(&tensor)?;
            let entropy = (&p * (&p + 1e-30)?.log()?)?.sum(D::Minus1)?;
            drop((tensor.argmax(D::Minus1)?, entropy));
            Ok(())
        },
    ])?;
    let bytes = 4.0 * (rows * tokens) as f64;
    let gigabytes = read_rate(512 << 20, setting.threads, setting.seconds.min(0.5));
    let peak = Peak { instruction: "read", dtype: "f32", gops: gigabytes / 4.0 };
    Ok(vec![Row::new(setting, "vocabulary", simd_level(), "f32", peak, &SHAPE, bytes / 4.0, &seconds)])
}
