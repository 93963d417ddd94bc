//! Rounding to bf16 and packing with AVX-512, for [`super::avx512`].
//!
//! A pair of values at 2p and 2p + 1 of k is one u32. Panels of columns are `[k / 2][32]` pairs. Tiles of R rows are
//! blocks of 16 pairs of k, `[R][16]` where a row is contiguous in memory and `[16][R]` where a column is: each case
//! then writes what it has read, without a transposition. Only a transposed right factor needs one, 16 × 16 pairs.

use std::arch::x86_64::*;
use std::ops::Range;

use half::bf16;

use super::layout::Layout;
use super::row_tiles::RowTiles;
use crate::simd::{Avx512, Simd};
use crate::tile_product::PANEL;

/// One aligned cache line of sixteen pairs.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; PAIRS]);

/// Pairs per line.
pub(super) const PAIRS: usize = 16;

/// The number of pairs that hold k values.
pub(super) fn pairs(k: usize) -> usize {
    k.div_ceil(2)
}

/// Lines per row of a tile.
pub(super) fn row_lines(k: usize) -> usize {
    pairs(k).div_ceil(PAIRS)
}

/// Lines per panel of 32 columns.
pub(super) fn panel_lines(k: usize) -> usize {
    pairs(k) * 2
}

/// Whether a tile's blocks are `[16][12]`, pair by pair, rather than `[12][16]`, row by row.
pub(super) fn by_pair(layout: &Layout) -> bool {
    layout.col_stride != 1 && layout.row_stride == 1
}

/// Packs neighbouring tiles, those in `range`, of a matrix `[m, k]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_tiles(x: &[f32], layout: &Layout, rows: RowTiles, range: Range<usize>, lines: &mut [Line]) {
    let (k, step) = (layout.cols, layout.col_stride);
    let per_row = row_lines(k);
    let first = rows.start(range.start);
    let lines_of = |tile: usize| (rows.start(tile) - first) * per_row..(rows.start(tile + 1) - first) * per_row;
    if !by_pair(layout) {
        for tile in range {
            pack_tile_by_row(x, layout, rows.start(tile), rows.rows(tile), &mut lines[lines_of(tile)]);
        }
        return;
    }
    // Block by block across the tiles: few rows of memory are open at once, and each is read in one piece.
    let flat = as_pairs(lines);
    for block in 0..per_row {
        for tile in range.clone() {
            let (row, height) = (rows.start(tile), rows.rows(tile));
            let to = &mut flat[(lines_of(tile).start + block * height) * PAIRS..][..height * PAIRS];
            for (p, to) in (block * PAIRS..pairs(k)).zip(to.chunks_exact_mut(height)) {
                let line = interleave(x, row + 2 * p * step, height, (2 * p + 1 < k).then_some(step));
                // SAFETY: the mask covers the values of `to`, at most twelve.
                unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), (1u16 << height) - 1, line) };
            }
        }
    }
}

/// Packs neighbouring panels of 32 columns, from column `first` on, of a matrix `[k, n]`; absent columns become zeros.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(super) fn pack_panels(x: &[f32], layout: &Layout, first: usize, panels: &mut [Line]) {
    let (k, step) = (layout.rows, layout.row_stride);
    let per_panel = panel_lines(k);
    if layout.col_stride != 1 {
        for (i, panel) in panels.chunks_exact_mut(per_panel).enumerate() {
            pack_panel_by_column(x, layout, first + i * PANEL, panel);
        }
        return;
    }
    for p in 0..pairs(k) {
        let next = (2 * p + 1 < k).then_some(step);
        for (i, panel) in panels.chunks_exact_mut(per_panel).enumerate() {
            for half in 0..2 {
                let column = first + i * PANEL + half * PAIRS;
                let line = &mut panel[2 * p + half];
                match layout.cols.saturating_sub(column).min(PAIRS) {
                    0 => *line = Line([0; PAIRS]),
                    count => store(interleave(x, column + 2 * p * step, count, next), line),
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_tile_by_row(x: &[f32], layout: &Layout, first: usize, height: usize, tile: &mut [Line]) {
    let Layout { cols: k, row_stride, col_stride, .. } = *layout;
    for (block, lines) in tile.chunks_exact_mut(height).enumerate() {
        let start = block * 2 * PAIRS;
        let len = (k - start).min(2 * PAIRS);
        for (i, line) in lines.iter_mut().enumerate() {
            let from = (first + i) * row_stride + start * col_stride;
            if col_stride == 1 {
                store(consecutive(&x[from..from + len]), line);
            } else {
                *line = gather(x, from, col_stride, len);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_panel_by_column(x: &[f32], layout: &Layout, first: usize, panel: &mut [Line]) {
    let Layout { rows: k, cols, row_stride, col_stride } = *layout;
    // SAFETY: this function runs only where the CPU has AVX-512.
    let simd = unsafe { Avx512::new() };
    for (block, lines) in panel.chunks_mut(2 * PAIRS).enumerate() {
        let start = block * 2 * PAIRS;
        let len = (k - start).min(2 * PAIRS);
        for half in 0..2 {
            let column = first + half * PAIRS;
            let mut square = [_mm512_setzero_ps(); PAIRS];
            for (i, line) in square.iter_mut().enumerate().take(cols.saturating_sub(column)) {
                let from = (column + i) * col_stride + start * row_stride;
                *line = _mm512_castsi512_ps(if row_stride == 1 {
                    consecutive(&x[from..from + len])
                } else {
                    load(&gather(x, from, row_stride, len))
                });
            }
            for (line, value) in lines.iter_mut().skip(half).step_by(2).zip(simd.transpose(square)) {
                store(_mm512_castps_si512(value), line);
            }
        }
    }
}

/// Sixteen pairs of up to 32 consecutive values, ended by zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn consecutive(x: &[f32]) -> __m512i {
    let low = load_values(&x[..x.len().min(16)]);
    let high = load_values(&x[x.len().min(16)..]);
    bits(_mm512_cvtne2ps_pbh(high, low))
}

/// Pairs of the `count` values at `start` with those `step` further on (with zeros if `None`).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn interleave(x: &[f32], start: usize, count: usize, step: Option<usize>) -> __m512i {
    let low = load_values(&x[start..start + count]);
    let high = match step {
        Some(step) => load_values(&x[start + step..start + step + count]),
        None => _mm512_setzero_ps(),
    };
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1,
        16, 0,
    );
    _mm512_permutexvar_epi16(order, bits(_mm512_cvtne2ps_pbh(high, low)))
}

/// Sixteen pairs of `len` values that are `step` apart.
fn gather(x: &[f32], start: usize, step: usize, len: usize) -> Line {
    let mut line = Line([0; PAIRS]);
    for j in 0..len {
        let value = bf16::from_f32(x[start + j * step]).to_bits();
        line.0[j / 2] |= u32::from(value) << (16 * (j % 2));
    }
    line
}

/// Up to sixteen values, ended by zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_values(x: &[f32]) -> __m512 {
    if x.len() >= 16 {
        // SAFETY: the slice holds sixteen values.
        return unsafe { _mm512_loadu_ps(x.as_ptr()) };
    }
    // SAFETY: the mask covers only the values of `x`.
    unsafe { _mm512_maskz_loadu_ps((1u16 << x.len()) - 1, x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512i {
    // SAFETY: a line is sixteen u32, aligned.
    unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(value: __m512i, line: &mut Line) {
    // SAFETY: a line is sixteen u32, aligned.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), value) }
}

/// The same bits under another type.
#[inline(always)]
fn bits(x: __m512bh) -> __m512i {
    // SAFETY: both types are 512 plain bits.
    unsafe { std::mem::transmute(x) }
}

/// Bytes seen as lines; they must begin at one.
pub(super) fn lines(bytes: &[u8]) -> &[Line] {
    assert!(bytes.as_ptr().cast::<Line>().is_aligned(), "gemm: packed weights must begin at a cache line");
    // SAFETY: the address is aligned, the lines lie inside the slice, and any bytes are a line.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<Line>()) }
}

/// As [`lines`], to be written.
pub(super) fn lines_mut(bytes: &mut [u8]) -> &mut [Line] {
    assert!(bytes.as_ptr().cast::<Line>().is_aligned(), "gemm: packed weights must begin at a cache line");
    // SAFETY: as in `lines`; the bytes are borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<Line>()) }
}

/// Lines seen as their pairs.
fn as_pairs(lines: &mut [Line]) -> &mut [u32] {
    // SAFETY: a `Line` is exactly sixteen u32 without padding.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * PAIRS) }
}
