//! The product on any CPU: inputs rounded to bf16 and widened again, fused multiply-adds in the order of k.
//!
//! Each value is one chain `sum = fma(a, b, sum)` from k = 0 upwards, so that the result has the same bits on every CPU.
//! Rows are packed to tiles `[M / 12][K][12]` of f32, columns to panels `[N / 32][K][32]` of bf16, both ended by zeros.

use std::cell::Cell;

use half::bf16;
use rayon::prelude::*;

use super::grid::{Output, TILE, for_each_block};
use super::layout::Layout;
use crate::simd::dispatch;
use crate::tile_product::{Left, PANEL, Right, multiply};

pub(super) fn product(a: &[f32], a_layout: Layout, b: &[f32], b_layout: Layout, out: Output, add: bool) {
    let [k, n] = [b_layout.rows, b_layout.cols];
    let mut panels = vec![0; n.div_ceil(PANEL) * k * PANEL * 2];
    pack(b, &b_layout, &mut panels);
    multiply_packed(a, a_layout, [k, n], &panels, out, add);
}

/// Packs a right factor `[k, n]` as panels `[n / 32][k][32]` of bf16.
pub(super) fn pack(b: &[f32], layout: &Layout, bytes: &mut [u8]) {
    let Layout { rows: k, cols: n, row_stride, col_stride } = *layout;
    if k == 0 {
        return;
    }
    bytes.par_chunks_exact_mut(k * PANEL * 2).enumerate().for_each(|(panel, bytes)| {
        let first = panel * PANEL;
        let count = (n - first).min(PANEL);
        for (p, row) in bytes.as_chunks_mut::<{ 2 * PANEL }>().0.iter_mut().enumerate() {
            let start = first * col_stride + p * row_stride;
            row.fill(0);
            for (i, value) in row.as_chunks_mut::<2>().0.iter_mut().take(count).enumerate() {
                *value = bf16::from_f32(b[start + i * col_stride]).to_le_bytes();
            }
        }
    });
}

/// The product with a right factor `[k, n]` that [`pack`] has packed.
pub(super) fn product_packed(a: &[f32], a_layout: Layout, shape: [usize; 2], bytes: &[u8], out: Output) {
    multiply_packed(a, a_layout, shape, bytes, out, false);
}

/// A panel is widened to f32 where the units read it.
fn multiply_packed(a: &[f32], a_layout: Layout, [k, n]: [usize; 2], bytes: &[u8], out: Output, add: bool) {
    thread_local! {
        static WIDE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let m = a_layout.rows;
    let tiles = pack_tiles(a, a_layout);
    let (panels, per_k) = (n.div_ceil(PANEL), k * size_of::<f32>());
    for_each_block(m.div_ceil(TILE), panels, per_k * PANEL, |tile_range, panel_range| {
        let mut wide = WIDE.take();
        if wide.len() < k * PANEL {
            wide.resize(k * PANEL, 0.0);
        }
        let values = &mut wide[..k * PANEL];
        for panel in panel_range {
            widen(&bytes[panel * k * PANEL * 2..][..k * PANEL * 2], values);
            let right = Right { data: values, row_stride: PANEL, panel_stride: PANEL };
            for tile in tile_range.clone() {
                let data = &tiles[tile * k * TILE..][..k * TILE];
                let rows = (m - tile * TILE).min(TILE);
                let (start, columns) = out.at([tile * TILE, panel * PANEL], rows, PANEL);
                let mut block = [0.0f32; TILE * PANEL];
                if add {
                    for (i, row) in block.chunks_exact_mut(PANEL).take(rows).enumerate() {
                        // SAFETY: `at` says that these rows and columns exist; only this block's task uses them.
                        unsafe { row.as_mut_ptr().copy_from_nonoverlapping(start.add(i * out.stride()), columns) };
                    }
                }
                let left = Left { data, row_stride: 1, column_stride: TILE };
                multiply([rows, PANEL, k], left, right, &mut block, PANEL, add);
                for (i, row) in block.chunks_exact(PANEL).take(rows).enumerate() {
                    // SAFETY: `at` says that these rows and columns exist; only this block's task writes them.
                    unsafe { start.add(i * out.stride()).copy_from_nonoverlapping(row.as_ptr(), columns) };
                }
            }
        }
        WIDE.set(wide);
    });
}

fn widen(bytes: &[u8], values: &mut [f32]) {
    dispatch!(widen_body(bytes: &[u8], values: &mut [f32]))
}

#[inline(always)]
fn widen_body<S>(_: S, bytes: &[u8], values: &mut [f32]) {
    for (bytes, value) in bytes.as_chunks::<2>().0.iter().zip(values) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// Rounds to bf16 and packs tiles of rows as `[M / 12][K][12]`, ended by zero rows.
fn pack_tiles(x: &[f32], layout: Layout) -> Vec<f32> {
    let Layout { rows, cols, row_stride, col_stride } = layout;
    let mut packed = vec![0.0f32; rows.div_ceil(TILE) * cols * TILE];
    if packed.is_empty() {
        return packed;
    }
    packed.par_chunks_mut(cols * TILE).enumerate().for_each(|(tile, packed)| {
        let first = tile * TILE;
        let count = (rows - first).min(TILE);
        for (j, column) in packed.chunks_exact_mut(TILE).enumerate() {
            let start = first * row_stride + j * col_stride;
            for (i, value) in column.iter_mut().take(count).enumerate() {
                *value = bf16::from_f32(x[start + i * row_stride]).to_f32();
            }
        }
    });
    packed
}
