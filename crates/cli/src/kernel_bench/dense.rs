//! The bf16 product with packed weights, beside candle's product of bf16 tensors.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use lldm_kernels::peak::f32_instruction;
use lldm_kernels::{Bf16Path, Layout, bf16_path, gemm_bf16_packed, pack_bf16};

use super::report::Row;
use super::setting::{Setting, values};
use crate::render::plain;

/// Rows x inner x columns: the default model's layers, those of larger models, and few rows.
const SHAPES: [[usize; 3]; 7] = [
    [64, 256, 1024],
    [64, 1024, 256],
    [64, 256, 4096],
    [256, 2816, 2112],
    [256, 2048, 8192],
    [16, 2048, 2048],
    [1, 2048, 2048],
];

/// A row for each shape.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let path = bf16_path();
    // The portable path multiplies in f32, by the instruction of the lanes.
    let peak = match path {
        Bf16Path::Portable => setting.peak_of(f32_instruction(), "f32"),
        _ => setting.peak_of(path.name(), "bf16"),
    };
    let mut rows = Vec::new();
    for shape in SHAPES.into_iter().filter(|_| setting.wants("gemm_bf16")) {
        let [m, k, n] = shape;
        plain::note(&format!("measuring gemm_bf16 {m} x {k} x {n}"));
        let (x, weight) = (values(m * k), values(n * k));
        let packed = pack_bf16(&weight, Layout::row_major(n, k).transposed());
        let mut out = vec![0.0; m * n];
        let a = Tensor::from_slice(&x, (m, k), &Device::Cpu)?.to_dtype(DType::BF16)?;
        let b = Tensor::from_slice(&weight, (n, k), &Device::Cpu)?.to_dtype(DType::BF16)?.t()?;
        let (seconds, peak) = setting.beside(
            peak,
            &mut [
                &mut || {
                    gemm_bf16_packed(&x, Layout::row_major(m, k), &packed, &mut out);
                    Ok(())
                },
                &mut || {
                    a.matmul(&b)?;
                    Ok(())
                },
            ],
        )?;
        let work = 2.0 * (m * k * n) as f64;
        rows.push(Row::new(setting, "gemm_bf16", path.name(), "bf16", peak, &shape, work, &seconds));
    }
    Ok(rows)
}
