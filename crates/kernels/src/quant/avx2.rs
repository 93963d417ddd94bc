//! The quantised block on 256 bits: 2 rows × 16 columns at a time, four sums in int32 and four in f32.
//!
//! `vpdpbusd` where the CPU has AVX-VNNI. Without it `vpmaddubsw` adds two products of u and q in 16 bits, which holds u up to 63
//! (63 · 127 · 2 < 2^15); for u of eight bits both sides are widened to 16 bits first. All three are exact.

use std::arch::x86_64::*;

use super::activation::RowChunk;
use super::block::{Block, Int8Path};
use super::panel::{Chunk, STEP};
use crate::tile_product::PANEL;

pub(super) fn add(block: &Block, rows: &[u32], x: RowChunk<'_>, weights: Chunk<'_>, c: &mut [f32]) {
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
unsafe fn with_vnni(block: &Block, rows: &[u32], x: RowChunk<'_>, weights: Chunk<'_>, c: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { all(block, rows, x, weights, c, |sum, u, q| _mm256_dpbusd_avx_epi32(sum, u, q)) }
}

/// # Safety
/// As for [`with_vnni`], without AVX-VNNI.
#[target_feature(enable = "avx2,fma")]
unsafe fn with_bytes(block: &Block, rows: &[u32], x: RowChunk<'_>, weights: Chunk<'_>, c: &mut [f32]) {
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
unsafe fn with_words(block: &Block, rows: &[u32], x: RowChunk<'_>, weights: Chunk<'_>, c: &mut [f32]) {
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
    x: RowChunk<'_>,
    weights: Chunk<'_>,
    c: &mut [f32],
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i + Copy,
) {
    for (rows, c) in rows.chunks(2).zip(c.chunks_mut(2 * PANEL)) {
        for column in [0, 16] {
            // SAFETY: the caller's promise.
            unsafe {
                if rows.len() == 2 {
                    run::<2>(block, rows, column, x, weights, c, multiply);
                } else {
                    run::<1>(block, rows, column, x, weights, c, multiply);
                }
            }
        }
    }
}

/// R rows × 16 columns.
///
/// # Safety
/// As for [`with_bytes`]; there must be R rows.
#[inline(always)]
unsafe fn run<const R: usize>(
    block: &Block,
    rows: &[u32],
    column: usize,
    x: RowChunk<'_>,
    weights: Chunk<'_>,
    c: &mut [f32],
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) {
    let (steps, groups) = (block.group / 4, x.len / block.group);
    // SAFETY: group, step, row and column stay below what the caller promises.
    unsafe {
        let mut f = [[_mm256_setzero_ps(); 2]; R];
        let start = |r: usize, group: usize| x.starts.as_ptr().add(rows[r] as usize * groups + group);
        for group in 0..groups {
            let mut sums = [[_mm256_setzero_si256(); 2]; R];
            if !block.minima {
                for (r, sums) in sums.iter_mut().enumerate() {
                    *sums = [_mm256_set1_epi32(*start(r, group)); 2];
                }
            }
            for step in group * steps..(group + 1) * steps {
                let u = weights.integers.as_ptr().add(step * STEP + 4 * column);
                let u = [_mm256_loadu_si256(u.cast()), _mm256_loadu_si256(u.add(32).cast())];
                for (r, sums) in sums.iter_mut().enumerate() {
                    let q = x.values.as_ptr().add(rows[r] as usize * x.len + 4 * step);
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
