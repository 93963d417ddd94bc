//! Sixteen lanes as two AVX2 registers.

use std::arch::x86_64::*;

use super::lanes::Simd;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Lanes 0..8 and 8..16.
#[derive(Clone, Copy)]
pub(crate) struct Pair(pub(crate) __m256, pub(crate) __m256);

impl Avx2 {
    /// # Safety
    /// The CPU must have AVX2 and FMA, and the caller be compiled for them.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY (all blocks below): a value of `Avx2` exists only where `new`'s caller has promised AVX2 and FMA; the two
// pointer methods pass their own condition on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    type V = Pair;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        let v = unsafe { _mm256_set1_ps(x) };
        Pair(v, v)
    }

    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> Pair {
        unsafe { Pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Pair, p: *mut f32) {
        unsafe {
            _mm256_storeu_ps(p, v.0);
            _mm256_storeu_ps(p.add(8), v.1);
        }
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        unsafe { Pair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }

    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn min(self, a: Pair, b: Pair) -> Pair {
        unsafe { Pair(_mm256_min_ps(a.0, b.0), _mm256_min_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn scale_by_power(self, y: Pair, n: Pair) -> Pair {
        unsafe { Pair(scale_half(y.0, n.0), scale_half(y.1, n.1)) }
    }

    #[inline(always)]
    fn zero_where_less(self, x: Pair, limit: Pair, y: Pair) -> Pair {
        unsafe {
            Pair(
                _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x.0, limit.0), y.0),
                _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x.1, limit.1), y.1),
            )
        }
    }

    #[inline(always)]
    fn transpose(self, x: [Pair; 16]) -> [Pair; 16] {
        let quarter = |rows: usize, high: bool| -> [__m256; 8] {
            let rows = std::array::from_fn(|i| if high { x[rows + i].1 } else { x[rows + i].0 });
            unsafe { transpose_quarter(rows) }
        };
        let [top_low, top_high] = [quarter(0, false), quarter(0, true)];
        let [bottom_low, bottom_high] = [quarter(8, false), quarter(8, true)];
        std::array::from_fn(|i| match i {
            0..8 => Pair(top_low[i], bottom_low[i]),
            _ => Pair(top_high[i - 8], bottom_high[i - 8]),
        })
    }
}

/// Value i of line j becomes value j of line i.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn transpose_quarter(mut x: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller promises AVX2.
    unsafe {
        // Within each half line: 4 × 4 squares.
        for i in [0, 4] {
            let [a, b, c, d] = [x[i], x[i + 1], x[i + 2], x[i + 3]];
            let ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
            let ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
            let cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
            let cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
            x[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low));
            x[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low));
            x[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
            x[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
        }
        for j in 0..4 {
            let [a, b] = [x[j], x[4 + j]];
            x[j] = _mm256_permute2f128_ps::<0x20>(a, b);
            x[4 + j] = _mm256_permute2f128_ps::<0x31>(a, b);
        }
        x
    }
}

/// `y * 2^n` by two multiplications, since 2^128 is no f32.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn scale_half(y: __m256, n: __m256) -> __m256 {
    // SAFETY: the caller promises AVX2.
    unsafe {
        let n = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(n);
        let rest = _mm256_sub_epi32(n, half);
        let bias = _mm256_set1_epi32(127);
        let first = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias)));
        let second = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias)));
        _mm256_mul_ps(_mm256_mul_ps(y, first), second)
    }
}
