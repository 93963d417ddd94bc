//! The int8 product on 256 bits: 4 rows × 16 columns, eight sums in registers.
//!
//! `vpdpbusd` where the CPU has AVX-VNNI. Without it both sides are widened to 16 bits with their signs, the even bytes and the odd
//! ones, for two `vpmaddwd` (`vpmaddubsw` would saturate).

use std::arch::x86_64::*;

use super::product::{Rows, Sums};
use crate::tile_product::PANEL;

pub(super) fn add(vnni: bool, x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    assert!(is_x86_feature_detected!("avx2"), "gemm_int8: no AVX2");
    if vnni {
        assert!(is_x86_feature_detected!("avxvnni"), "gemm_int8: no AVX-VNNI");
        // SAFETY: the CPU has been asked above; the caller has checked all lengths.
        unsafe { with_vnni(x, weights, sums) }
    } else {
        // SAFETY: as above.
        unsafe { with_words(x, weights, sums) }
    }
}

/// # Safety
/// The CPU must have AVX2 and AVX-VNNI; there must be as many rows of `x.k` bytes as sums, and the panel must have `x.k` k.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn with_vnni(x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe { all(x, weights, sums, |sum, row, columns| _mm256_dpbusd_avx_epi32(sum, row, columns)) }
}

/// # Safety
/// As for [`with_vnni`], without AVX-VNNI.
#[target_feature(enable = "avx2")]
unsafe fn with_words(x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    let multiply = |sum, row: __m256i, columns: __m256i| {
        let even = |v: __m256i| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(v));
        let even = _mm256_madd_epi16(even(row), even(columns));
        let odd = _mm256_madd_epi16(_mm256_srai_epi16::<8>(row), _mm256_srai_epi16::<8>(columns));
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    };
    // SAFETY: the caller's promise.
    unsafe { all(x, weights, sums, multiply) }
}

/// All rows, four at a time.
///
/// # Safety
/// As for [`with_words`].
#[inline(always)]
unsafe fn all(
    x: Rows<'_>,
    weights: &[u8],
    sums: &mut Sums,
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i + Copy,
) {
    for (values, sums) in x.values.chunks(4 * x.k).zip(sums.chunks_mut(4)) {
        let x = Rows { values, k: x.k };
        for column in [0, 16] {
            // SAFETY: the caller's promise.
            unsafe {
                match sums.len() {
                    4 => run::<4>(x, weights, column, sums, multiply),
                    3 => run::<3>(x, weights, column, sums, multiply),
                    2 => run::<2>(x, weights, column, sums, multiply),
                    _ => run::<1>(x, weights, column, sums, multiply),
                }
            }
        }
    }
}

/// R rows × 16 columns.
///
/// # Safety
/// As for [`with_words`]; there must be R rows.
#[inline(always)]
unsafe fn run<const R: usize>(
    x: Rows<'_>,
    weights: &[u8],
    column: usize,
    sums: &mut Sums,
    multiply: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) {
    // SAFETY: row, column and step stay below what the caller promises.
    unsafe {
        let mut c = [[_mm256_setzero_si256(); 2]; R];
        for (c, sums) in c.iter_mut().zip(&*sums) {
            let from = sums.as_ptr().add(column);
            *c = [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())];
        }
        for step in 0..x.k / 4 {
            let at = weights.as_ptr().add(4 * (step * PANEL + column));
            let columns = [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())];
            for (r, c) in c.iter_mut().enumerate() {
                let row = x.values.as_ptr().add(r * x.k + 4 * step);
                let row = _mm256_set1_epi32(row.cast::<i32>().read_unaligned());
                c[0] = multiply(c[0], row, columns[0]);
                c[1] = multiply(c[1], row, columns[1]);
            }
        }
        for (c, sums) in c.iter().zip(sums) {
            let to = sums.as_mut_ptr().add(column);
            _mm256_storeu_si256(to.cast(), c[0]);
            _mm256_storeu_si256(to.add(8).cast(), c[1]);
        }
    }
}
