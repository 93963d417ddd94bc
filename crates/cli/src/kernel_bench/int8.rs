//! The product of int8 matrices with packed weights. candle has none: its column stays empty.

use anyhow::Result;
use lldm_kernels::{Layout, gemm_int8, int8_path, pack_int8};

use super::quantised::peak_type;
use super::report::Row;
use super::setting::Setting;
use crate::render::plain;

/// Rows x inner x columns.
const SHAPES: [[usize; 3]; 3] = [[256, 2816, 2112], [256, 2048, 8192], [16, 2048, 2048]];

/// A row for each shape.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    let path = int8_path().name();
    let mut rows = Vec::new();
    for shape in SHAPES.into_iter().filter(|_| setting.wants("gemm_int8")) {
        let [m, k, n] = shape;
        plain::note(&format!("measuring gemm_int8 {m} x {k} x {n}"));
        let packed = pack_int8(&bytes(n * k), Layout::row_major(n, k).transposed());
        let (x, mut out) = (bytes(m * k), vec![0; m * n]);
        let seconds = setting.in_turn(&mut [&mut || {
            gemm_int8(&x, Layout::row_major(m, k), &packed, &mut out);
            Ok(())
        }])?;
        let work = 2.0 * (m * k * n) as f64;
        let peak = setting.peak_of(path, peak_type());
        rows.push(Row::new(setting, "gemm_int8", path, "int8", peak, &shape, work, &[seconds[0], f64::NAN]));
    }
    Ok(rows)
}

/// Bytes that do not repeat soon.
fn bytes(length: usize) -> Vec<i8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as i8).collect()
}
