//! Sixteen lanes as one AVX-512 register.

use std::arch::x86_64::*;

use super::lanes::Simd;

/// Proof that the CPU has AVX-512 F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU must have AVX-512 F, and the caller be compiled for it.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY (all blocks below): a value of `Avx512` exists only where `new`'s caller has promised AVX-512 F; the two
// pointer methods pass their own condition on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    type V = __m512;
    const WIDE: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: __m512, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn scale_by_power(self, y: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(y, n) }
    }

    #[inline(always)]
    fn zero_where_less(self, x: __m512, limit: __m512, y: __m512) -> __m512 {
        unsafe { _mm512_maskz_mov_ps(!_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, limit), y) }
    }

    #[inline(always)]
    fn transpose(self, mut x: [__m512; 16]) -> [__m512; 16] {
        // Within each quarter: 4 × 4 squares.
        for i in (0..16).step_by(4) {
            let [a, b, c, d] = [x[i], x[i + 1], x[i + 2], x[i + 3]];
            unsafe {
                let ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                let cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                x[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low));
                x[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low));
                x[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
                x[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
            }
        }
        // x[4 i + j], quarter q, holds value 4 q + j of lines 4 i..4 i + 4: exchange quarters and i.
        for j in 0..4 {
            let [a, b, c, d] = [x[j], x[4 + j], x[8 + j], x[12 + j]];
            unsafe {
                let [ab_even, ab_odd] = [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b)];
                let [cd_even, cd_odd] = [_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d)];
                x[j] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
                x[8 + j] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
                x[4 + j] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
                x[12 + j] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
            }
        }
        x
    }

    #[inline(always)]
    fn load_partial(self, x: &[f32], fill: f32) -> __m512 {
        if x.len() >= 16 {
            return self.load(x);
        }
        let mask = (1u16 << x.len()) - 1;
        // SAFETY: the mask covers only the values of `x`.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, x.as_ptr()) }
    }

    #[inline(always)]
    fn store_partial(self, v: __m512, out: &mut [f32]) {
        if out.len() >= 16 {
            return self.store(v, out);
        }
        let mask = (1u16 << out.len()) - 1;
        // SAFETY: the mask covers only the values of `out`.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, v) }
    }
}
