//! What the vocabulary pass needs of sixteen lanes beyond arithmetic: comparisons as bits, a choice, random lanes and
//! reading ahead. What an instruction set does not do better is done here in plain Rust, with the same bits.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::stream::{STEP, finalise};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{LANES, Portable, Simd};

/// Sixteen f32 lanes for the vocabulary pass.
pub(super) trait VocabSimd: Simd {
    /// Bit i says whether lane i of `a` is less than that of `b`; a NaN is not.
    #[inline(always)]
    fn less_mask(self, a: Self::V, b: Self::V) -> u32 {
        let (a, b) = (self.to_array(a), self.to_array(b));
        let mut mask = 0;
        for i in 0..LANES {
            mask |= u32::from(a[i] < b[i]) << i;
        }
        mask
    }

    /// `if x < limit { less } else { other }` per lane.
    #[inline(always)]
    fn choose_less(self, x: Self::V, limit: Self::V, less: Self::V, other: Self::V) -> Self::V {
        let (x, limit, less, other) =
            (self.to_array(x), self.to_array(limit), self.to_array(less), self.to_array(other));
        let mut out = other;
        for i in 0..LANES {
            out[i] = if x[i] < limit[i] { less[i] } else { other[i] };
        }
        self.load(&out)
    }

    /// The upper 24 bits of the random bits of sixteen tokens, the first of which has this counter: whole numbers below 2^24.
    #[inline(always)]
    fn top_bits(self, counter: u64) -> Self::V {
        let mut out = [0.0; LANES];
        for (i, out) in out.iter_mut().enumerate() {
            *out = (finalise(counter.wrapping_add(STEP.wrapping_mul(i as u64))) >> 40) as u32 as f32;
        }
        self.load(&out)
    }

    /// Asks for the cache line of `p`, which need not be readable.
    #[inline(always)]
    fn fetch(self, _p: *const f32) {}
}

impl VocabSimd for Portable {}

// SAFETY (all blocks below): a value of `Avx2` exists only where the CPU has AVX2; fetching ahead reads nothing.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)]
impl VocabSimd for Avx2 {
    #[inline(always)]
    fn less_mask(self, a: Self::V, b: Self::V) -> u32 {
        unsafe {
            let low = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)) as u32;
            let high = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1)) as u32;
            low | (high << 8)
        }
    }

    #[inline(always)]
    fn choose_less(self, x: Self::V, limit: Self::V, less: Self::V, other: Self::V) -> Self::V {
        let mut out = other;
        unsafe {
            out.0 = _mm256_blendv_ps(other.0, less.0, _mm256_cmp_ps::<_CMP_LT_OQ>(x.0, limit.0));
            out.1 = _mm256_blendv_ps(other.1, less.1, _mm256_cmp_ps::<_CMP_LT_OQ>(x.1, limit.1));
        }
        out
    }

    #[inline(always)]
    fn fetch(self, p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}

// SAFETY (all blocks below): a value of `Avx512` exists only where the CPU has AVX-512 F, and the dispatch of this crate
// makes one only where it has BW, DQ and VL too; fetching ahead reads nothing.
#[cfg(target_arch = "x86_64")]
#[allow(clippy::undocumented_unsafe_blocks)]
impl VocabSimd for Avx512 {
    #[inline(always)]
    fn less_mask(self, a: Self::V, b: Self::V) -> u32 {
        unsafe { u32::from(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn choose_less(self, x: Self::V, limit: Self::V, less: Self::V, other: Self::V) -> Self::V {
        unsafe { _mm512_mask_mov_ps(other, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, limit), less) }
    }

    #[inline(always)]
    fn top_bits(self, counter: u64) -> Self::V {
        unsafe {
            let steps = |from: u64| {
                let step = |i: u64| STEP.wrapping_mul(from + i) as i64;
                _mm512_setr_epi64(step(0), step(1), step(2), step(3), step(4), step(5), step(6), step(7))
            };
            let counter = _mm512_set1_epi64(counter as i64);
            let low = upper_bits(_mm512_add_epi64(counter, steps(0)));
            let high = upper_bits(_mm512_add_epi64(counter, steps(8)));
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            let upper = _mm512_permutex2var_epi32(low, odd, high);
            _mm512_cvtepi32_ps(_mm512_srli_epi32::<8>(upper))
        }
    }

    #[inline(always)]
    fn fetch(self, p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}

/// The finaliser without its last step, which leaves the upper 31 bits as they are.
///
/// # Safety
/// The CPU must have AVX-512 F and DQ.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn upper_bits(z: __m512i) -> __m512i {
    use super::stream::MULTIPLIERS;
    // SAFETY: the caller promises AVX-512 F and DQ.
    unsafe {
        let multiplier = |i: usize| _mm512_set1_epi64(MULTIPLIERS[i] as i64);
        let z = _mm512_mullo_epi64(_mm512_xor_si512(z, _mm512_srli_epi64::<30>(z)), multiplier(0));
        _mm512_mullo_epi64(_mm512_xor_si512(z, _mm512_srli_epi64::<27>(z)), multiplier(1))
    }
}
