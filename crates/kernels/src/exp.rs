//! The exponential function in f32, sixteen lanes at a time.
//!
//! `exp(x) = 2^n · exp(r)` with `n = round(x / ln 2)` and `r = x - n ln 2` in two steps, `|r| <= ln 2 / 2`; `exp(r)`
//! is the polynomial of degree 7 of Cephes' `expf` (S. Moshier, netlib). The relative error is below 2e-7 where the
//! result is a normal number. Below that (x < -87.3366, and -inf) the result is 0; above 88.7228 it is infinite; NaN
//! stays NaN.

use rayon::prelude::*;

use crate::simd::{LANES, Simd, dispatch};

/// `exp(x)` of one value: the bits that [`exp_in_place`] gives.
#[inline]
pub fn exp(x: f32) -> f32 {
    if x < LOWEST {
        return 0.0;
    }
    let clamped = if x > HIGHEST { HIGHEST } else { x };
    let n = clamped.mul_add(std::f32::consts::LOG2_E, ROUNDER) - ROUNDER;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = COEFFICIENTS[0];
    for c in &COEFFICIENTS[1..] {
        p = p.mul_add(r, *c);
    }
    scale_by_power(p.mul_add(r * r, r) + 1.0, n)
}

/// Replaces every value by its exponential; any length, several threads if it is long.
pub fn exp_in_place(x: &mut [f32]) {
    if x.len() <= CHUNK {
        return exp_chunk(x);
    }
    x.par_chunks_mut(CHUNK).for_each(exp_chunk);
}

/// Values per parallel task.
const CHUNK: usize = 1 << 14;
/// The logarithm of the least normal f32.
pub(crate) const LOWEST: f32 = -87.336_54;
/// Beyond the logarithm of the largest f32.
const HIGHEST: f32 = 89.0;
/// 1.5 · 2^23: adding and subtracting it rounds to an integer.
const ROUNDER: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// `(exp(r) - 1 - r) / r²`, highest power first.
const COEFFICIENTS: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];

/// `exp` of sixteen lanes.
#[inline(always)]
pub(crate) fn exp_lanes<S: Simd>(s: S, x: S::V) -> S::V {
    let lowest = s.splat(LOWEST);
    let clamped = s.min(s.splat(HIGHEST), s.max(lowest, x));
    s.zero_where_less(x, lowest, exp_clamped(s, clamped))
}

/// `exp` of sixteen lanes that lie between [`LOWEST`] and [`HIGHEST`].
#[inline(always)]
pub(crate) fn exp_clamped<S: Simd>(s: S, x: S::V) -> S::V {
    let rounder = s.splat(ROUNDER);
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), rounder), rounder);
    let r = s.fma(n, s.splat(-LN2_LOW), s.fma(n, s.splat(-LN2_HIGH), x));
    let mut p = s.splat(COEFFICIENTS[0]);
    for c in &COEFFICIENTS[1..] {
        p = s.fma(p, r, s.splat(*c));
    }
    let y = s.add(s.fma(p, s.mul(r, r), r), s.splat(1.0));
    s.scale_by_power(y, n)
}

/// `y · 2^n` by two multiplications, since 2^128 is no f32.
#[inline(always)]
pub(crate) fn scale_by_power(y: f32, n: f32) -> f32 {
    let n = (n + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i32;
    let half = n >> 1;
    let rest = n.wrapping_sub(half);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    y * power(half) * power(rest)
}

fn exp_chunk(x: &mut [f32]) {
    dispatch!(exp_body(x: &mut [f32]))
}

#[inline(always)]
fn exp_body<S: Simd>(s: S, x: &mut [f32]) {
    for lanes in x.chunks_mut(LANES) {
        let y = exp_lanes(s, s.load_partial(lanes, 0.0));
        s.store_partial(y, lanes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_each_level;

    #[test]
    fn matches_f64_over_the_normal_range() {
        let x: Vec<f32> = (0..2_000_003).map(|i| -87.33 + i as f32 * (176.05 / 2_000_003.0)).collect();
        let mut y = x.clone();
        exp_in_place(&mut y);
        let mut worst = 0.0f64;
        for (x, y) in x.iter().zip(&y) {
            let expected = f64::from(*x).exp();
            worst = worst.max(((f64::from(*y) - expected) / expected).abs());
            assert_eq!(y.to_bits(), exp(*x).to_bits());
        }
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn limits() {
        let x = [f32::NEG_INFINITY, -1e30, -88.0, 0.0, 88.8, 1e30, f32::INFINITY, f32::NAN];
        let bits = at_each_level(|| {
            let mut y = x;
            exp_in_place(&mut y);
            y.map(|y| if y.is_nan() { f32::NAN.to_bits() } else { y.to_bits() })
        });
        let y = bits.map(f32::from_bits);
        assert_eq!(y[..4], [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(y[4..7], [f32::INFINITY; 3]);
        assert!(y[7].is_nan());
    }

    #[test]
    fn same_bits_at_every_level() {
        let x: Vec<f32> = (0..5003).map(|i| -90.0 + i as f32 * 0.0357).collect();
        at_each_level(|| {
            let mut y = x.clone();
            exp_in_place(&mut y);
            y.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
        });
    }
}
