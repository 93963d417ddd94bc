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
