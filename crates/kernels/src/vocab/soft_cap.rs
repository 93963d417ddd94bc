//! Final soft-capping: `cap · tanh(x / cap)` (Gemma 2, arXiv 2408.00118, section 2).
//!
//! tanh in f32: below 0.625 the odd polynomial of Cephes' `tanhf` (S. Moshier, netlib), above it
//! `(1 - e) / (1 + e)` with `e = exp(-2 |t|)`. The relative error of the capped value is below 3e-7. Minus infinity, which
//! marks what is impossible, stays; NaN stays NaN.

use rayon::prelude::*;

use super::lanes::VocabSimd;
use crate::exp::{exp, exp_lanes};
use crate::simd::{LANES, dispatch};

/// Replaces every logit by `cap · tanh(logit / cap)`; any length, several threads if it is long.
pub fn soft_cap_in_place(logits: &mut [f32], cap: f32) {
    assert!(cap > 0.0 && cap.is_finite(), "soft_cap: the cap must be a positive number");
    logits.par_chunks_mut(VALUES_PER_TASK).for_each(|logits| soft_cap_chunk(logits, cap));
}

/// Values per parallel task.
const VALUES_PER_TASK: usize = 1 << 14;
/// Where the polynomial ends.
const SMALL: f32 = 0.625;
/// `(tanh(t) / t - 1) / t²` in powers of t², highest first.
const COEFFICIENTS: [f32; 5] = [-5.704_989e-3, 2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];

/// The cap of one logit: the bits that [`soft_cap_in_place`] gives.
pub(super) fn soft_cap(x: f32, cap: f32) -> f32 {
    if x == f32::NEG_INFINITY {
        return x;
    }
    let t = x * cap.recip();
    if t.abs() < SMALL {
        let square = t * t;
        let mut p = COEFFICIENTS[0];
        for c in &COEFFICIENTS[1..] {
            p = p.mul_add(square, *c);
        }
        return cap * (p * square).mul_add(t, t);
    }
    let e = exp(-2.0 * t.abs());
    cap * ((1.0 - e) / (1.0 + e)).copysign(t)
}

/// Caps a slice in place.
#[inline(always)]
pub(super) fn soft_cap_slice<S: VocabSimd>(s: S, logits: &mut [f32], cap: f32) {
    for lanes in logits.chunks_mut(LANES) {
        let capped = soft_cap_lanes(s, s.load_partial(lanes, 0.0), cap);
        s.store_partial(capped, lanes);
    }
}

#[inline(always)]
fn soft_cap_lanes<S: VocabSimd>(s: S, x: S::V, cap: f32) -> S::V {
    let zero = s.splat(0.0);
    let t = s.mul(x, s.splat(cap.recip()));
    let minus = s.sub(zero, t);
    let absolute = s.max(t, minus);
    let square = s.mul(t, t);
    let mut p = s.splat(COEFFICIENTS[0]);
    for c in &COEFFICIENTS[1..] {
        p = s.fma(p, square, s.splat(*c));
    }
    let small = s.fma(s.mul(p, square), t, t);
    let e = exp_lanes(s, s.mul(absolute, s.splat(-2.0)));
    let one = s.splat(1.0);
    let large = s.div(s.sub(one, e), s.add(one, e));
    let large = s.choose_less(t, zero, s.sub(zero, large), large);
    let capped = s.mul(s.splat(cap), s.choose_less(absolute, s.splat(SMALL), small, large));
    s.choose_less(x, s.splat(f32::MIN), x, capped)
}

fn soft_cap_chunk(logits: &mut [f32], cap: f32) {
    dispatch!(soft_cap_body(logits: &mut [f32], cap: f32))
}

#[inline(always)]
fn soft_cap_body<S: VocabSimd>(s: S, logits: &mut [f32], cap: f32) {
    soft_cap_slice(s, logits, cap);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_each_level;

    #[test]
    fn it_matches_f64() {
        for cap in [30.0f32, 1.0, 0.37] {
            let x: Vec<f32> = (0..400_003).map(|i| (i - 200_001) as f32 * (cap * 6e-5)).collect();
            let y = at_each_level(|| {
                let mut y = x.clone();
                soft_cap_in_place(&mut y, cap);
                y
            });
            let mut worst = 0.0f64;
            for (x, y) in x.iter().zip(&y) {
                let expected = f64::from(cap) * (f64::from(*x) / f64::from(cap)).tanh();
                worst = worst.max((f64::from(*y) - expected).abs() / expected.abs().max(1e-30));
                assert_eq!(y.to_bits(), soft_cap(*x, cap).to_bits(), "{x}");
            }
            assert!(worst < 3e-7, "{worst:e}");
        }
    }

    #[test]
    fn limits() {
        let mut y = [f32::NEG_INFINITY, f32::MIN, -1e9, f32::MIN_POSITIVE, 1e9, f32::INFINITY, f32::NAN];
        for y in y {
            assert!(soft_cap(y, 30.0).to_bits() == soft_cap_of(y) || y.is_nan(), "{y}");
        }
        soft_cap_in_place(&mut y, 30.0);
        assert_eq!(y[..3], [f32::NEG_INFINITY, -30.0, -30.0]);
        assert_eq!(y[4..6], [30.0, 30.0]);
        assert!(y[6].is_nan());
    }

    fn soft_cap_of(x: f32) -> u32 {
        let mut x = [x];
        soft_cap_in_place(&mut x, 30.0);
        x[0].to_bits()
    }
}
