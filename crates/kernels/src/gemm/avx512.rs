//! The product by `vdpbf16ps`: up to 12 rows × 32 columns in 24 registers.
//!
//! Per pair of k: two loads of the panel, a broadcast for each row of the tile, two instructions for each of two products per lane. Each
//! value of the result is one chain over the pairs of k, so it does not depend on its neighbours. Inputs and sums that
//! are denormal count as zero, as the instruction defines.

use std::arch::x86_64::*;
use std::cell::Cell;

use rayon::prelude::*;

use super::avx512_pack::{
    Line, PAIRS, by_pair, lines, lines_mut, pack_panels, pack_tiles, pairs, panel_lines, row_lines,
};
use super::grid::{Output, TILE, for_each_block};
use super::layout::Layout;
use super::row_tiles::RowTiles;
use crate::tile_product::PANEL;

/// Writes the product, or, if `add`, lets the sums go on from what `out` holds.
pub(super) fn product(a: &[f32], a_layout: Layout, b: &[f32], b_layout: Layout, out: Output, add: bool) {
    thread_local! {
        static PANELS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    }
    let mut lines = PANELS.take();
    let count = b_layout.cols.div_ceil(PANEL) * panel_lines(b_layout.rows);
    let panels = sized(&mut lines, count);
    pack_all_panels(b, &b_layout, panels);
    multiply_packed(a, a_layout, [b_layout.rows, b_layout.cols], panels, out, add);
    PANELS.set(lines);
}

/// Packs a right factor `[k, n]` as panels `[n / 32][k / 2][32]` of pairs.
pub(super) fn pack(b: &[f32], layout: &Layout, bytes: &mut [u8]) {
    pack_all_panels(b, layout, lines_mut(bytes));
}

/// The product with a right factor `[k, n]` that [`pack`] has packed.
pub(super) fn product_packed(a: &[f32], a_layout: Layout, shape: [usize; 2], bytes: &[u8], out: Output) {
    multiply_packed(a, a_layout, shape, lines(bytes), out, false);
}

fn multiply_packed(a: &[f32], a_layout: Layout, [k, n]: [usize; 2], panels: &[Line], out: Output, add: bool) {
    thread_local! {
        static TILES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    }
    assert_cpu();
    let rows = RowTiles::new(a_layout.rows, TILE);
    let (per_row, per_panel) = (row_lines(k), panel_lines(k));
    let mut lines = TILES.take();
    pack_all_tiles(a, &a_layout, rows, sized(&mut lines, a_layout.rows * per_row));
    let tiles = &lines[..a_layout.rows * per_row];
    let kernel = Kernel { pairs: pairs(k), by_pair: by_pair(&a_layout), add };
    for_each_block(rows.count, n.div_ceil(PANEL), per_panel * size_of::<Line>(), |tile_range, panel_range| {
        let (count, ahead) = (tile_range.len(), panel_range.len() * per_panel);
        for (i, tile) in tile_range.enumerate() {
            let (first, height) = (rows.start(tile), rows.rows(tile));
            let left = &tiles[first * per_row..][..height * per_row];
            for panel in panel_range.clone() {
                let columns = &panels[panel * per_panel..][..per_panel];
                // Each tile asks for its share of the columns that the next block has in place of these.
                let (from, to) = (per_panel * i / count, per_panel * (i + 1) / count);
                let next = panels.get(panel * per_panel + ahead..).and_then(|panels| panels.get(from..to));
                // SAFETY: the CPU has been asked; only this block's task writes this tile and panel of `out`.
                unsafe { kernel.block(left, height, columns, next.unwrap_or(&[]), out, [first, panel * PANEL]) };
            }
        }
    });
    TILES.set(lines);
}

/// Packs the rows tile by tile, several tiles a task: neighbours share cache lines, but every thread should have work.
fn pack_all_tiles(a: &[f32], layout: &Layout, rows: RowTiles, lines: &mut [Line]) {
    let per_row = row_lines(layout.cols);
    let step = rows.count.div_ceil(4).clamp(1, 32);
    let mut parts = Vec::with_capacity(rows.count.div_ceil(step));
    let mut left = lines;
    for first in (0..rows.count).step_by(step) {
        let range = first..rows.count.min(first + step);
        let (part, rest) = left.split_at_mut((rows.start(range.end) - rows.start(first)) * per_row);
        parts.push((range, part));
        left = rest;
    }
    // SAFETY: the caller has asked the CPU.
    let pack = |(range, part)| unsafe { pack_tiles(a, layout, rows, range, part) };
    if parts.len() <= 1 || rayon::current_num_threads() == 1 {
        parts.into_iter().for_each(pack);
    } else {
        parts.into_par_iter().for_each(pack);
    }
}

fn pack_all_panels(b: &[f32], layout: &Layout, panels: &mut [Line]) {
    assert_cpu();
    let per_panel = panel_lines(layout.rows);
    let group = group(layout.cols.div_ceil(PANEL));
    panels.par_chunks_mut((group * per_panel).max(1)).enumerate().for_each(|(i, lines)| {
        // SAFETY: the CPU has been asked above.
        unsafe { pack_panels(b, layout, i * group * PANEL, lines) }
    });
}

fn assert_cpu() {
    assert!(is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw"), "gemm: no AVX512-BF16");
}

/// How many tiles or panels one task packs: neighbours share cache lines, but every thread should have work.
fn group(count: usize) -> usize {
    count.div_ceil(4).clamp(1, 32)
}

/// The first `len` lines of a buffer that grows and is kept.
fn sized(lines: &mut Vec<Line>, len: usize) -> &mut [Line] {
    if lines.len() < len {
        lines.resize(len, Line([0; PAIRS]));
    }
    &mut lines[..len]
}

/// What all blocks of one product share.
struct Kernel {
    pairs: usize,
    by_pair: bool,
    add: bool,
}

impl Kernel {
    /// Computes one tile of `height` rows in one panel of columns, which begin at `at` in the result, and has the lines of `next`
    /// fetched meanwhile.
    ///
    /// # Safety
    /// The CPU must have AVX512-BF16; the tile and panel of `out` must be written by this call alone.
    unsafe fn block(&self, rows: &[Line], height: usize, columns: &[Line], next: &[Line], out: Output, at: [usize; 2]) {
        assert!(rows.len() >= self.pairs.div_ceil(PAIRS) * height && columns.len() >= self.pairs * 2);
        let (start, width) = out.at(at, height, PANEL);
        let to = Target { start, stride: out.stride(), width, add: self.add };
        let (a, b) = (rows.as_ptr().cast(), columns.as_ptr().cast());
        let next = Next { line: next.as_ptr(), per_block: next.len().div_ceil(self.pairs.div_ceil(PAIRS).max(1)) };
        macro_rules! by_height {
            ($($rows:literal)*) => {
                match (self.by_pair, height) {
                    $((false, $rows) => multiply::<$rows, PAIRS, 1>(self.pairs, a, b, next, to),
                    (true, $rows) => multiply::<$rows, 1, $rows>(self.pairs, a, b, next, to),)*
                    _ => {}
                }
            };
        }
        // SAFETY: the lengths are checked above, `at` has checked the rows and says how many columns exist, the rest is the
        // caller's.
        unsafe { by_height!(1 2 3 4 5 6 7 8 9 10 11 12) }
    }
}

/// Where a block of the result goes: rows of `width` values, `stride` apart. The sums begin with what is there if `add`.
struct Target {
    start: *mut f32,
    stride: usize,
    width: usize,
    add: bool,
}

/// Lines that will be wanted soon, so many for each block of 16 pairs.
struct Next {
    line: *const Line,
    per_block: usize,
}

/// R rows × 32 columns; in a block of 16 pairs, row i and pair p of the tile lie at `i · ROW + p · PAIR`.
///
/// # Safety
/// The CPU must have AVX512-BF16; `a` must reach all blocks of a tile, `b` all pairs of a panel, `to` writable values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn multiply<const R: usize, const ROW: usize, const PAIR: usize>(
    pairs: usize,
    mut a: *const i32,
    mut b: *const i32,
    mut next: Next,
    to: Target,
) {
    let mask = u32::MAX >> (PANEL - to.width);
    let masks = [mask as u16, (mask >> 16) as u16];
    let mut sum = [[_mm512_setzero_ps(); 2]; R];
    if to.add {
        for (i, sum) in sum.iter_mut().enumerate() {
            // SAFETY: row `i` exists, and the masks cover only the columns that do.
            unsafe {
                let row = to.start.add(i * to.stride);
                sum[0] = _mm512_maskz_loadu_ps(masks[0], row);
                sum[1] = _mm512_maskz_loadu_ps(masks[1], row.wrapping_add(PAIRS));
            }
        }
    }
    let mut left = pairs;
    while left > 0 {
        let count = left.min(PAIRS);
        for _ in 0..next.per_block {
            _mm_prefetch::<_MM_HINT_T1>(next.line.cast());
            next.line = next.line.wrapping_add(1);
        }
        for p in 0..count {
            // SAFETY: `p` is below the pairs left, every row below R; the prefetch address may lie anywhere.
            unsafe {
                let right = [columns(b.add(p * PANEL)), columns(b.add(p * PANEL + PAIRS))];
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add((p + AHEAD) * PANEL).cast());
                _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add((p + AHEAD) * PANEL + PAIRS).cast());
                // With p up to fifteen this reaches past the next R lines; an address is all that a prefetch needs.
                _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add((R + p) * PAIRS).cast());
                for (i, sum) in sum.iter_mut().enumerate() {
                    let row = bf16_pairs(_mm512_set1_epi32(*a.add(i * ROW + p * PAIR)));
                    sum[0] = _mm512_dpbf16_ps(sum[0], row, right[0]);
                    sum[1] = _mm512_dpbf16_ps(sum[1], row, right[1]);
                }
            }
        }
        left -= count;
        a = a.wrapping_add(R * PAIRS);
        b = b.wrapping_add(count * PANEL);
    }
    for (i, sum) in sum.iter().enumerate() {
        // SAFETY: as above.
        unsafe {
            let row = to.start.add(i * to.stride);
            _mm512_mask_storeu_ps(row, masks[0], sum[0]);
            _mm512_mask_storeu_ps(row.wrapping_add(PAIRS), masks[1], sum[1]);
        }
    }
}

/// How many pairs of k ahead a panel is fetched; the next sixteen pairs of the tile are fetched beside them. On one Zen 5 core
/// this and the next block's columns were worth 2 to 3% over 32 pairs alone at 256 x 2816 x 2112.
const AHEAD: usize = 64;

/// Sixteen pairs of a panel.
///
/// # Safety
/// `b` must be aligned to 64 bytes and reach sixteen pairs.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn columns(b: *const i32) -> __m512bh {
    // SAFETY: the caller's promise.
    bf16_pairs(unsafe { _mm512_load_si512(b.cast()) })
}

/// The same bits under another type.
#[inline(always)]
fn bf16_pairs(x: __m512i) -> __m512bh {
    // SAFETY: both types are 512 plain bits.
    unsafe { std::mem::transmute(x) }
}
