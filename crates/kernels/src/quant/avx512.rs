//! The quantised block by `vpdpbusd` on 512 bits: up to 6 rows × 32 columns, twelve sums in int32 and twelve in f32.
//!
//! Per four k: two loads of the weights, a broadcast for each row, two instructions for each. A group of 32 k costs twelve
//! conversions and twelve multiply-adds more, a format with minima twelve again: 8 × 12 products beside 12 or 24.
//!
//! Up to four tiles of rows take u from the planes of the record, in registers; more than that find it unpacked in a buffer. The sums
//! are the same.

use std::arch::x86_64::*;

use super::activation::RowChunk;
use super::block::Block;
use super::chunk::{Chunk, Planes, fetch_part};
use super::panel::STEP;
use crate::gemm::RowTiles;
use crate::tile_product::PANEL;

pub(super) fn add(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    assert!(is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw"), "quant: no AVX512-VNNI");
    let Planes { low_bits, high_bits, .. } = weights.planes;
    // SAFETY: the CPU has been asked above; `Block::add` has checked all lengths and rows.
    unsafe {
        match (low_bits, high_bits, block.minima, block.group) {
            (8, _, false, 16) => all::<8, 0, false, 4>(rows, x, weights, c),
            (8, _, false, _) => all::<8, 0, false, 8>(rows, x, weights, c),
            (8, _, true, _) => all::<8, 0, true, 8>(rows, x, weights, c),
            (_, 0, false, _) => all::<4, 0, false, 8>(rows, x, weights, c),
            (_, 0, true, _) => all::<4, 0, true, 8>(rows, x, weights, c),
            (_, 1, false, _) => all::<4, 1, false, 8>(rows, x, weights, c),
            (_, 1, true, _) => all::<4, 1, true, 8>(rows, x, weights, c),
            (_, _, _, _) => all::<4, 2, false, 4>(rows, x, weights, c),
        }
    }
}

/// All rows, tile by tile.
///
/// # Safety
/// As for [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn all<const LOW: usize, const HIGH: usize, const MINIMA: bool, const STEPS: usize>(
    rows: &[u32],
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    c: &mut [f32],
) {
    let cut = RowTiles::new(rows.len(), ROWS);
    let (mut ahead, mut c) = (weights.ahead, c);
    for tile in 0..cut.count {
        let rows = &rows[cut.start(tile)..cut.start(tile + 1)];
        let (to, rest) = std::mem::take(&mut c).split_at_mut(rows.len() * PANEL);
        c = rest;
        macro_rules! by_height {
            ($($rows:literal)*) => {
                match rows.len() {
                    $($rows => run::<$rows, LOW, HIGH, MINIMA, STEPS>(rows, x, weights, ahead, to),)*
                    _ => {}
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe { by_height!(1 2 3 4 5 6) }
        // The first tile has asked for it.
        ahead = &[];
    }
}

/// Rows that are computed together at most: with two vectors of columns each, their sums in int32 and in f32 fill 24 registers.
const ROWS: usize = 6;

/// R rows; a group has `STEPS` times four k. Meanwhile `ahead` is fetched.
///
/// # Safety
/// The CPU must have AVX512-VNNI; the R rows must exist, the chunk and `c` hold whole groups, the planes `LOW` and `HIGH` bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run<const R: usize, const LOW: usize, const HIGH: usize, const MINIMA: bool, const STEPS: usize>(
    rows: &[u32],
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    ahead: &[u8],
    c: &mut [f32],
) {
    let groups = x.len / (4 * STEPS);
    let Planes { low, high, .. } = weights.planes;
    let mut q = [x.values.as_ptr(); R];
    let mut starts = [x.starts.as_ptr(); R];
    for r in 0..R {
        let row = rows[r] as usize;
        q[r] = q[r].wrapping_add(row * x.len);
        starts[r] = starts[r].wrapping_add(row * groups);
    }
    let mut f = [[_mm512_setzero_ps(); 2]; R];
    for group in 0..groups {
        fetch_part(ahead, group, groups);
        // SAFETY: group, step and row stay below what the caller promises.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); 2]; R];
            if !MINIMA {
                for (start, sums) in starts.iter().zip(&mut sums) {
                    *sums = [_mm512_set1_epi32(*start.add(group)); 2];
                }
            }
            for step in 0..STEPS {
                let columns = columns::<LOW, HIGH, STEPS>(low.as_ptr(), high.as_ptr(), group, step);
                for (q, sums) in q.iter().zip(&mut sums) {
                    let row = _mm512_set1_epi32(q.add((group * STEPS + step) * 4).cast::<i32>().read_unaligned());
                    sums[0] = _mm512_dpbusd_epi32(sums[0], columns[0], row);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], columns[1], row);
                }
            }
            let scales = weights.scales.as_ptr().add(group * PANEL);
            let scales = [_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(16))];
            for (f, sums) in f.iter_mut().zip(sums) {
                f[0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[0]), scales[0], f[0]);
                f[1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[1]), scales[1], f[1]);
            }
            if MINIMA {
                let minima = weights.minima.as_ptr().add(group * PANEL);
                let minima = [_mm512_loadu_ps(minima), _mm512_loadu_ps(minima.add(16))];
                for (start, f) in starts.iter().zip(&mut f) {
                    let sum = _mm512_set1_ps(start.add(group).cast::<f32>().read());
                    f[0] = _mm512_fnmadd_ps(sum, minima[0], f[0]);
                    f[1] = _mm512_fnmadd_ps(sum, minima[1], f[1]);
                }
            }
        }
    }
    for (r, f) in f.iter().enumerate() {
        // SAFETY: as above.
        unsafe {
            let (c, scale) = (c.as_mut_ptr().add(r * PANEL), _mm512_set1_ps(x.scales[rows[r] as usize]));
            _mm512_storeu_ps(c, _mm512_fmadd_ps(f[0], scale, _mm512_loadu_ps(c)));
            _mm512_storeu_ps(c.add(16), _mm512_fmadd_ps(f[1], scale, _mm512_loadu_ps(c.add(16))));
        }
    }
}

/// u of four k of all columns. A high plane covers the k of just one group.
///
/// # Safety
/// The step must lie in the planes, which have `LOW` and `HIGH` bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn columns<const LOW: usize, const HIGH: usize, const STEPS: usize>(
    low: *const u8,
    high: *const u8,
    group: usize,
    step: usize,
) -> [__m512i; 2] {
    let at = group * STEPS + step;
    let mut found = [_mm512_setzero_si512(); 2];
    for (half, found) in found.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *found = unsafe { _mm512_loadu_si512(low.add(at * LOW / 8 * STEP + 64 * half).cast()) };
        if LOW == 4 {
            let nibbles = if step.is_multiple_of(2) { *found } else { _mm512_srli_epi16::<4>(*found) };
            *found = _mm512_and_si512(nibbles, _mm512_set1_epi8(15));
        }
        if HIGH > 0 {
            // SAFETY: the caller's promise.
            let bits = unsafe { _mm512_loadu_si512(high.add(group * STEP + 64 * half).cast()) };
            // From bit `from` of each byte to bit 4.
            let from = (step * HIGH) as i16;
            let bits = if from < 4 {
                _mm512_sllv_epi16(bits, _mm512_set1_epi16(4 - from))
            } else {
                _mm512_srlv_epi16(bits, _mm512_set1_epi16(from - 4))
            };
            let mask = if HIGH == 1 { 0x10 } else { 0x30 };
            *found = _mm512_or_si512(*found, _mm512_and_si512(bits, _mm512_set1_epi8(mask)));
        }
    }
    found
}
