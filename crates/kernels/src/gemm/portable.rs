//! The product on any CPU: inputs rounded to bf16 but kept as f32, fused multiply-adds in the order of k.
//!
//! Each value is one chain `sum = fma(a, b, sum)` from k = 0 upwards, so that the result has the same bits on every CPU.
//! Rows are packed to tiles `[M / 12][K][12]`, columns to panels `[N / 32][K][32]`, both ended by zeros.

use half::bf16;
use rayon::prelude::*;

use super::grid::{Output, TILE, for_each_block};
use super::layout::Layout;
use crate::tile_product::{Left, PANEL, Right, multiply};

/// A right factor `[k, n]` as panels `[n / 32][k][32]`.
#[derive(Clone, Debug)]
pub(super) struct Panels {
    k: usize,
    n: usize,
    values: Vec<f32>,
}

impl Panels {
    pub(super) fn pack(b: &[f32], layout: Layout) -> Self {
        let (k, n) = (layout.rows, layout.cols);
        Self { k, n, values: pack_groups::<PANEL>(b, layout.transposed()) }
    }
}

pub(super) fn product(a: &[f32], a_layout: Layout, b: &[f32], b_layout: Layout, out: Output) {
    product_packed(a, a_layout, &Panels::pack(b, b_layout), out);
}

pub(super) fn product_packed(a: &[f32], a_layout: Layout, b: &Panels, out: Output) {
    let (m, k, n) = (a_layout.rows, b.k, b.n);
    let tiles = pack_groups::<TILE>(a, a_layout);
    let (panels, bytes) = (n.div_ceil(PANEL), k * size_of::<f32>());
    for_each_block(m.div_ceil(TILE), panels, [bytes * TILE, bytes * PANEL], |tile_range, panel_range| {
        for panel in panel_range {
            let right =
                Right { data: &b.values[panel * k * PANEL..][..k * PANEL], row_stride: PANEL, panel_stride: PANEL };
            for tile in tile_range.clone() {
                let data = &tiles[tile * k * TILE..][..k * TILE];
                let rows = (m - tile * TILE).min(TILE);
                let (start, columns) = out.at([tile * TILE, panel * PANEL], rows, PANEL);
                let mut block = [0.0f32; TILE * PANEL];
                let left = Left { data, row_stride: 1, column_stride: TILE };
                multiply([rows, PANEL, k], left, right, &mut block, PANEL, false);
                for (i, row) in block.chunks_exact(PANEL).take(rows).enumerate() {
                    // SAFETY: `at` says that these rows and columns exist; only this block's task writes them.
                    unsafe { start.add(i * out.stride()).copy_from_nonoverlapping(row.as_ptr(), columns) };
                }
            }
        }
    });
}

/// Rounds to bf16 and packs groups of G rows as `[rows / G][cols][G]`, ended by zero rows.
fn pack_groups<const G: usize>(x: &[f32], layout: Layout) -> Vec<f32> {
    let Layout { rows, cols, row_stride, col_stride } = layout;
    let mut packed = vec![0.0f32; rows.div_ceil(G) * cols * G];
    if packed.is_empty() {
        return packed;
    }
    packed.par_chunks_mut(cols * G).enumerate().for_each(|(group, packed)| {
        let first = group * G;
        let count = (rows - first).min(G);
        for (j, column) in packed.chunks_exact_mut(G).enumerate() {
            let start = first * row_stride + j * col_stride;
            for (i, value) in column.iter_mut().take(count).enumerate() {
                *value = bf16::from_f32(x[start + i * row_stride]).to_f32();
            }
        }
    });
    packed
}
