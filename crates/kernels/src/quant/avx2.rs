//! The quantised block on 256 bits: 2 rows × 16 columns at a time, four sums in int32 and four in f32.
//!
//! `vpdpbusd` where the CPU has AVX-VNNI. Without it `vpmaddubsw` adds two products of u and q in 16 bits, which holds u up to 63
//! (63 · 127 · 2 < 2^15); for u of eight bits both sides are widened to 16 bits first. All three are exact. One or two rows take u
//! from the planes of the record, as on 512 bits.

use std::arch::x86_64::*;

use super::activation::RowChunk;
use super::block::{Block, Int8Path};
use super::chunk::{Chunk, Planes, fetch_part};
use super::panel::STEP;
use crate::tile_product::PANEL;

pub(super) fn add(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "quant: no AVX2 and FMA");
    if block.path == Int8Path::AvxVnni {
        assert!(is_x86_feature_detected!("avxvnni"), "quant: no AVX-VNNI");
        // SAFETY: the CPU has been asked above; `Block::add` has checked all lengths.
        unsafe { with_vnni(block, rows, x, weights, c) }
    } else if block.eight_bits {
        // SAFETY: as above.
        unsafe { with_words(block, rows, x, weights, c) }
    } else {
        // SAFETY: as above.
        unsafe { with_bytes(block, rows, x, weights, c) }
    }
}

/// # Safety
/// The CPU must have AVX-VNNI, AVX2 and FMA; the lengths must be those that [`Block::add`] checks.
#[target_feature(enable = "avx2,fma,avxvnni")]
unsafe fn with_vnni(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { all(block, rows, x, weights, c, |sum, u, q| _mm256_dpbusd_avx_epi32(sum, u, q)) }
}

/// # Safety
/// As for [`with_vnni`], without AVX-VNNI.
#[target_feature(enable = "avx2,fma")]
unsafe fn with_bytes(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    let multiply = |sum, u, q| {
        let words = _mm256_maddubs_epi16(u, q);
        _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)))
    };
    // SAFETY: the caller's promise.
    unsafe { all(block, rows, x, weights, c, multiply) }
}

/// # Safety
/// As for [`with_bytes`].
#[target_feature(enable = "avx2,fma")]
unsafe fn with_words(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    let multiply = |sum, u: __m256i, q: __m256i| {
        // Of each four: the even bytes, then the odd ones; u unsigned, q with its sign.
        let low = _mm256_set1_epi16(0xff);
        let even = _mm256_madd_epi16(_mm256_and_si256(u, low), _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(q)));
        let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(u), _mm256_srai_epi16::<8>(q));
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    };
    // SAFETY: the caller's promise.
    unsafe { all(block, rows, x, weights, c, multiply) }
}

/// All rows and columns of a chunk.
///
/// # Safety
/// As for [`with_bytes`].
#[inline(always)]
unsafe fn all(
    block: &Block,
    rows: &[u32],
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    c: &mut [f32],
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i + Copy,
) {
    let Planes { low_bits, high_bits, .. } = weights.planes;
    // SAFETY: the caller's promise.
    unsafe {
        match (low_bits, high_bits, block.group) {
            (8, _, 16) => tiles::<8, 0, 4>(block, rows, x, weights, c, multiply),
            (8, _, _) => tiles::<8, 0, 8>(block, rows, x, weights, c, multiply),
            (_, 0, _) => tiles::<4, 0, 8>(block, rows, x, weights, c, multiply),
            (_, 1, _) => tiles::<4, 1, 8>(block, rows, x, weights, c, multiply),
            (_, _, _) => tiles::<4, 2, 4>(block, rows, x, weights, c, multiply),
        }
    }
}

/// As [`all`], for planes of `LOW` and `HIGH` bits and groups of `STEPS` times four k.
///
/// # Safety
/// As for [`with_bytes`].
#[inline(always)]
unsafe fn tiles<const LOW: usize, const HIGH: usize, const STEPS: usize>(
    block: &Block,
    rows: &[u32],
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    c: &mut [f32],
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i + Copy,
) {
    let mut ahead = weights.ahead;
    for (rows, c) in rows.chunks(ROWS).zip(c.chunks_mut(ROWS * PANEL)) {
        for column in [0, 16] {
            // SAFETY: the caller's promise.
            unsafe {
                if rows.len() == 2 {
                    run::<2, LOW, HIGH, STEPS>(block, rows, column, x, weights, ahead, c, multiply);
                } else {
                    run::<1, LOW, HIGH, STEPS>(block, rows, column, x, weights, ahead, c, multiply);
                }
            }
            // The first tile has asked for it.
            ahead = &[];
        }
    }
}

/// Rows that are computed together.
const ROWS: usize = 2;

/// R rows × 16 columns. Meanwhile `ahead` is fetched.
///
/// # Safety
/// As for [`tiles`]; there must be R rows.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn run<const R: usize, const LOW: usize, const HIGH: usize, const STEPS: usize>(
    block: &Block,
    rows: &[u32],
    column: usize,
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    ahead: &[u8],
    c: &mut [f32],
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) {
    let groups = x.len / block.group;
    let Planes { low, high, .. } = weights.planes;
    // SAFETY: group, step, row and column stay below what the caller promises.
    unsafe {
        let mut f = [[_mm256_setzero_ps(); 2]; R];
        let start = |r: usize, group: usize| x.starts.as_ptr().add(rows[r] as usize * groups + group);
        for group in 0..groups {
            fetch_part(ahead, group, groups);
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            if !block.minima {
                for (r, sums) in sums.iter_mut().enumerate() {
                    *sums = [_mm256_set1_epi32(*start(r, group)); 2];
                }
            }
            for step in 0..STEPS {
                let (low, high, place) = (low.as_ptr(), high.as_ptr(), 4 * column);
                let u = [
                    columns::<LOW, HIGH, STEPS>(low, high, group, step, place),
                    columns::<LOW, HIGH, STEPS>(low, high, group, step, place + 32),
                ];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let q = x.values.as_ptr().add(rows[r] as usize * x.len + 4 * (group * STEPS + step));
                    let q = _mm256_set1_epi32(q.cast::<i32>().read_unaligned());
                    sums[0] = multiply(sums[0], u[0], q);
                    sums[1] = multiply(sums[1], u[1], q);
                }
            }
            let scales = weights.scales.as_ptr().add(group * PANEL + column);
            let scales = [_mm256_loadu_ps(scales), _mm256_loadu_ps(scales.add(8))];
            for (f, sums) in f.iter_mut().zip(sums) {
                f[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[0]), scales[0], f[0]);
                f[1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[1]), scales[1], f[1]);
            }
            if block.minima {
                let minima = weights.minima.as_ptr().add(group * PANEL + column);
                let minima = [_mm256_loadu_ps(minima), _mm256_loadu_ps(minima.add(8))];
                for (r, f) in f.iter_mut().enumerate() {
                    let sum = _mm256_set1_ps(start(r, group).cast::<f32>().read());
                    f[0] = _mm256_fnmadd_ps(sum, minima[0], f[0]);
                    f[1] = _mm256_fnmadd_ps(sum, minima[1], f[1]);
                }
            }
        }
        for (r, f) in f.iter().enumerate() {
            let c = c.as_mut_ptr().add(r * PANEL + column);
            let scale = _mm256_set1_ps(x.scales[rows[r] as usize]);
            _mm256_storeu_ps(c, _mm256_fmadd_ps(f[0], scale, _mm256_loadu_ps(c)));
            _mm256_storeu_ps(c.add(8), _mm256_fmadd_ps(f[1], scale, _mm256_loadu_ps(c.add(8))));
        }
    }
}

/// u of four k of the eight columns that lie `place` bytes behind the first. A high plane covers the k of just one group.
///
/// # Safety
/// The step and the columns must lie in the planes, which have `LOW` and `HIGH` bits; the CPU must have AVX2.
#[inline(always)]
unsafe fn columns<const LOW: usize, const HIGH: usize, const STEPS: usize>(
    low: *const u8,
    high: *const u8,
    group: usize,
    step: usize,
    place: usize,
) -> __m256i {
    let at = (group * STEPS + step) * LOW / 8 * STEP + place;
    // SAFETY: the caller's promise.
    unsafe {
        let mut found = _mm256_loadu_si256(low.add(at).cast());
        if LOW == 4 {
            let nibbles = if step.is_multiple_of(2) { found } else { _mm256_srli_epi16::<4>(found) };
            found = _mm256_and_si256(nibbles, _mm256_set1_epi8(15));
        }
        if HIGH > 0 {
            let bits = _mm256_loadu_si256(high.add(group * STEP + place).cast());
            // From bit `from` of each byte to bit 4.
            let from = (step * HIGH) as i32;
            let bits = if from < 4 {
                _mm256_sll_epi16(bits, _mm_cvtsi32_si128(4 - from))
            } else {
                _mm256_srl_epi16(bits, _mm_cvtsi32_si128(from - 4))
            };
            let mask = if HIGH == 1 { 0x10 } else { 0x30 };
            found = _mm256_or_si256(found, _mm256_and_si256(bits, _mm256_set1_epi8(mask)));
        }
        found
    }
}
