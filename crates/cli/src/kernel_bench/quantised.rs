//! Products with quantised weights, beside candle's QMatMul on the same blocks.

use anyhow::{Context, Result};
use candle_core::quantized::QMatMul;
use candle_core::{Device, Module, Tensor};
use lldm_kernels::quant::random_blocks;
use lldm_kernels::{Int8Path, PackedQuant, QuantFormat, gemm_quant, int8_path};
use lldm_models::nn::candle_matrix;

use super::report::Row;
use super::setting::{Setting, values};
use crate::render::plain;

/// Rows x inner x columns.
const SHAPES: [[usize; 3]; 6] =
    [[256, 2816, 2112], [256, 2048, 8192], [16, 2048, 2048], [1, 2048, 2048], [1, 2816, 2112], [1, 2048, 8192]];

/// A row for each format and shape.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for format in QuantFormat::ALL {
        let kernel = format!("gemm_{format}");
        if !setting.wants(&kernel) {
            continue;
        }
        for shape in SHAPES {
            let [m, k, n] = shape;
            plain::note(&format!("measuring {kernel} {m} x {k} x {n}"));
            let (packed, candle) = weights(format, [n, k], 1)?;
            let x = values(m * k);
            let tensor = Tensor::from_slice(&x, (m, k), &Device::Cpu)?;
            let mut out = vec![0.0; m * n];
            let peak = setting.peak_of(int8_path().name(), peak_type());
            let (seconds, peak) = setting.beside(
                peak,
                &mut [
                    &mut || {
                        gemm_quant(&x, &packed, &mut out);
                        Ok(())
                    },
                    &mut || {
                        candle.forward(&tensor)?;
                        Ok(())
                    },
                ],
            )?;
            let work = 2.0 * (m * k * n) as f64;
            rows.push(Row::new(setting, &kernel, int8_path().name(), format.name(), peak, &shape, work, &seconds));
        }
    }
    Ok(rows)
}

/// The type whose peak quantised products are set against.
pub(super) fn peak_type() -> &'static str {
    if int8_path() == Int8Path::Portable { "f32" } else { "int8" }
}

/// Random weights `[N, K]` in our panels and in candle's matrix, the same blocks in both.
pub(super) fn weights(format: QuantFormat, shape: [usize; 2], seed: u64) -> Result<(PackedQuant, QMatMul)> {
    let blocks = random_blocks(format, shape, 0.02, seed).context("rows of whole blocks")?;
    let packed = PackedQuant::pack(format, shape, &blocks)?;
    let candle = candle_matrix(format, shape, &blocks, &Device::Cpu)?;
    Ok((packed, candle))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both multiply by the same weights: they differ by their roundings of the activations.
    #[test]
    fn candle_has_the_same_weights() -> Result<()> {
        for format in QuantFormat::ALL {
            let (packed, candle) = weights(format, [48, 512], 3)?;
            let x = values(5 * 512);
            let mut out = vec![0.0; 5 * 48];
            gemm_quant(&x, &packed, &mut out);
            let peer =
                candle.forward(&Tensor::from_slice(&x, (5, 512), &Device::Cpu)?)?.flatten_all()?.to_vec1::<f32>()?;
            let square = |x: f32| f64::from(x).powi(2);
            let error: f64 = out.iter().zip(&peer).map(|(a, b)| square(a - b)).sum();
            let share = (error / peer.iter().map(|x| square(*x)).sum::<f64>()).sqrt();
            assert!(share < 0.02, "{format}: {share}");
        }
        Ok(())
    }
}
