//! The int8 product by `vpdpbusd` on 512 bits: up to 12 rows × 32 columns, 24 sums in registers.

use std::arch::x86_64::*;

use super::product::{Rows, Sums};
use crate::tile_product::PANEL;

pub(super) fn add(x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    assert!(
        is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw"),
        "gemm_int8: no AVX512-VNNI"
    );
    macro_rules! by_height {
        ($($rows:literal)*) => {
            match sums.len() {
                // SAFETY: the CPU has been asked above; the caller has checked all lengths.
                $($rows => unsafe { run::<$rows>(x, weights, sums) },)*
                rows => assert_eq!(rows, 0, "gemm_int8: a tile of too many rows"),
            }
        };
    }
    by_height!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// # Safety
/// The CPU must have AVX512-VNNI; there must be R rows of `x.k` bytes and as many sums, and the panel must have `x.k` k.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run<const R: usize>(x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    let rows: [*const u8; R] = std::array::from_fn(|r| x.values.as_ptr().wrapping_add(r * x.k));
    let mut c = [[_mm512_setzero_si512(); 2]; R];
    // SAFETY: row and step stay below what the caller promises.
    unsafe {
        for (c, sums) in c.iter_mut().zip(&*sums) {
            *c = [_mm512_loadu_si512(sums.as_ptr().cast()), _mm512_loadu_si512(sums[16..].as_ptr().cast())];
        }
        for step in 0..x.k / 4 {
            let at = weights.as_ptr().add(step * 4 * PANEL);
            let columns = [_mm512_loadu_si512(at.cast()), _mm512_loadu_si512(at.add(64).cast())];
            for (c, row) in c.iter_mut().zip(rows) {
                let row = _mm512_set1_epi32(row.add(4 * step).cast::<i32>().read_unaligned());
                c[0] = _mm512_dpbusd_epi32(c[0], row, columns[0]);
                c[1] = _mm512_dpbusd_epi32(c[1], row, columns[1]);
            }
        }
        for (c, sums) in c.iter().zip(sums) {
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), c[0]);
            _mm512_storeu_si512(sums[16..].as_mut_ptr().cast(), c[1]);
        }
    }
}
