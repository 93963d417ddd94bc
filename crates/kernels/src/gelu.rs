//! GELU, forward and backward, in its exact form and in its usual approximation.
//!
//! Hendrycks and Gimpel 2016 (arXiv 1606.08415), section 2: `gelu(x) = x · Φ(x)` with Φ the normal distribution function, or
//! `x · σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`, which is their `0.5 x (1 + tanh u)`. Backward: `g · (Φ + x · Φ')`.
//! The exact form takes Φ from `erfc(z) exp(z²) = t · Q(t)`, `t = 1 / (1 + z/2)`, where Q is a polynomial of degree 10, our own
//! Chebyshev fit on 0 <= t <= 1 with a relative error of 1.2e-8; so the left tail keeps its relative precision.
//! All slices have one length.

use rayon::prelude::*;

use crate::exp::exp_lanes;
use crate::simd::{LANES, Simd, dispatch};

/// Which function is meant by GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x · Φ(x)`: `gelu` in checkpoints.
    Exact,
    /// The approximation by a hyperbolic tangent: `gelu_new`, `gelu_pytorch_tanh`.
    Tanh,
}

/// `out = gelu(x)`, element by element.
pub fn gelu(form: Gelu, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "gelu: x and out must have one length");
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| match form {
        Gelu::Exact => exact_chunk(x, out),
        Gelu::Tanh => tanh_chunk(x, out),
    });
}

/// The backward pass of [`gelu`]: `x` becomes its own gradient, and `grad`, the gradient of the output, becomes `gelu(x)` once
/// more, which the product above needs for the gradient of its weight.
pub fn gelu_backward(form: Gelu, x: &mut [f32], grad: &mut [f32]) {
    assert_eq!(x.len(), grad.len(), "gelu_backward: both slices must have one length");
    x.par_chunks_mut(CHUNK).zip(grad.par_chunks_mut(CHUNK)).for_each(|(x, grad)| match form {
        Gelu::Exact => exact_backward_chunk(x, grad),
        Gelu::Tanh => tanh_backward_chunk(x, grad),
    });
}

/// Values per parallel task.
const CHUNK: usize = 1 << 13;
/// Beyond it Φ is 0 or 1 in f32.
const FAR: f32 = 20.0;
/// Q, highest power first.
const TAIL: [f32; 11] = [
    0.043_173_066,
    -0.234_605_49,
    0.493_385_74,
    -0.454_563_7,
    0.131_850_04,
    -0.059_050_91,
    0.093_414_75,
    0.175_324_08,
    0.246_883_88,
    0.282_093_8,
    0.282_094_79,
];
/// `1 / √(2π)`.
const DENSITY: f32 = 0.398_942_3;
/// `2 √(2/π)`, and the same times 0.044715.
const SLOPE: f32 = 1.595_769;
const CUBIC: f32 = 0.071_354_814;

/// What x is multiplied by, and the slope of that, at sixteen places. A trait, as the compiler puts its methods into functions
/// of more instructions than the crate's, which it does not do with closures.
trait Share {
    fn at<S: Simd>(s: S, x: S::V) -> (S::V, S::V);
}

/// Φ and Φ'.
struct Normal;

/// σ(2u).
struct Logistic;

impl Share for Normal {
    #[inline(always)]
    fn at<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let far = s.min(s.splat(FAR), s.max(x, s.sub(zero, x)));
        let t = s.div(one, s.fma(far, s.splat(0.5 * std::f32::consts::FRAC_1_SQRT_2), one));
        let mut q = s.splat(TAIL[0]);
        for c in &TAIL[1..] {
            q = s.fma(q, t, s.splat(*c));
        }
        // exp(-x²/2), the square in two parts.
        let square = s.mul(far, far);
        let low = s.fma(far, far, s.sub(zero, square));
        let half = s.splat(-0.5);
        let bell = exp_lanes(s, s.mul(square, half));
        let bell = s.fma(bell, s.mul(low, half), bell);
        let tail = s.mul(s.mul(s.mul(q, t), s.splat(0.5)), bell);
        let right = s.sub(one, s.add(tail, tail));
        (s.add(s.zero_where_less(x, zero, right), tail), s.mul(bell, s.splat(DENSITY)))
    }
}

impl Share for Logistic {
    #[inline(always)]
    fn at<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
        let one = s.splat(1.0);
        let near = s.max(s.splat(-FAR), s.min(s.splat(FAR), x));
        let square = s.mul(near, near);
        let u = s.mul(near, s.fma(square, s.splat(CUBIC), s.splat(SLOPE)));
        let sigma = s.div(one, s.add(one, exp_lanes(s, s.sub(s.splat(0.0), u))));
        let inner = s.fma(square, s.splat(3.0 * CUBIC), s.splat(SLOPE));
        (sigma, s.mul(s.mul(sigma, s.sub(one, sigma)), inner))
    }
}

fn exact_chunk(x: &[f32], out: &mut [f32]) {
    dispatch!(exact_body(x: &[f32], out: &mut [f32]))
}

fn tanh_chunk(x: &[f32], out: &mut [f32]) {
    dispatch!(tanh_body(x: &[f32], out: &mut [f32]))
}

#[inline(always)]
fn exact_body<S: Simd>(s: S, x: &[f32], out: &mut [f32]) {
    forward::<S, Normal>(s, x, out);
}

#[inline(always)]
fn tanh_body<S: Simd>(s: S, x: &[f32], out: &mut [f32]) {
    forward::<S, Logistic>(s, x, out);
}

#[inline(always)]
fn forward<S: Simd, H: Share>(s: S, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let x = s.load_partial(x, 0.0);
        s.store_partial(s.mul(x, H::at(s, x).0), out);
    }
}

fn exact_backward_chunk(x: &mut [f32], grad: &mut [f32]) {
    dispatch!(exact_backward_body(x: &mut [f32], grad: &mut [f32]))
}

fn tanh_backward_chunk(x: &mut [f32], grad: &mut [f32]) {
    dispatch!(tanh_backward_body(x: &mut [f32], grad: &mut [f32]))
}

#[inline(always)]
fn exact_backward_body<S: Simd>(s: S, x: &mut [f32], grad: &mut [f32]) {
    backward::<S, Normal>(s, x, grad);
}

#[inline(always)]
fn tanh_backward_body<S: Simd>(s: S, x: &mut [f32], grad: &mut [f32]) {
    backward::<S, Logistic>(s, x, grad);
}

#[inline(always)]
fn backward<S: Simd, H: Share>(s: S, x: &mut [f32], grad: &mut [f32]) {
    for (to_x, to_grad) in x.chunks_mut(LANES).zip(grad.chunks_mut(LANES)) {
        let (x, grad) = (s.load_partial(to_x, 0.0), s.load_partial(to_grad, 0.0));
        let (part, slope) = H::at(s, x);
        // Where the slope is nothing, it stays so however large x is.
        let near = s.max(s.splat(-FAR), s.min(s.splat(FAR), x));
        s.store_partial(s.mul(grad, s.fma(near, slope, part)), to_x);
        s.store_partial(s.mul(x, part), to_grad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, finite_difference, noise, on_threads};
    use crate::simd::at_each_level;

    const FORMS: [Gelu; 2] = [Gelu::Exact, Gelu::Tanh];

    /// Φ by Simpson's rule over the density, from 0.
    fn normal(x: f64) -> f64 {
        let (steps, density) = (2000, |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt());
        let h = x / f64::from(steps);
        let weight = |i: i32| if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        0.5 + h / 3.0 * (0..=steps).map(|i| weight(i) * density(f64::from(i) * h)).sum::<f64>()
    }

    fn naive(form: Gelu, x: f64) -> f64 {
        match form {
            Gelu::Exact => x * normal(x),
            Gelu::Tanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + u.tanh())
            }
        }
    }

    #[test]
    fn both_forms_match_f64_at_every_level() {
        for form in FORMS {
            for len in [0, 1, 15, 16, 17, 20_001] {
                let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin() * 9.0).collect();
                let found = at_each_level(|| {
                    let mut out = vec![0.0; len];
                    gelu(form, &x, &mut out);
                    out
                });
                let expected: Vec<f64> = x.iter().take(400).map(|x| naive(form, f64::from(*x))).collect();
                assert_close(&found[..expected.len()], &expected, 4e-7);
            }
        }
    }

    /// Mills' ratio bounds the tail: `1 - 1/x² < Φ(-x) x / Φ'(x) < 1 - 1/x² + 3/x⁴`.
    #[test]
    fn the_left_tail_of_the_exact_form_keeps_its_precision() {
        for x in [8.0f64, 10.0, 12.5] {
            let mut out = [0.0];
            gelu(Gelu::Exact, &[-x as f32], &mut out);
            let ratio = -f64::from(out[0]) / ((-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt());
            let low = 1.0 - x.powi(-2);
            assert!(ratio > low && ratio < low + 3.0 * x.powi(-4), "{ratio} at {x}");
        }
    }

    #[test]
    fn backward_matches_finite_differences() {
        let len = 61;
        let (x, g) = (noise(3, len), noise(5, len));
        for form in FORMS {
            let run = || {
                let (mut grad, mut out) = (x.f32.clone(), g.f32.clone());
                gelu_backward(form, &mut grad, &mut out);
                let mut again = vec![0.0; len];
                gelu(form, &x.f32, &mut again);
                assert_eq!(out, again);
                grad
            };
            let grad = at_each_level(run);
            assert_eq!(on_threads(3, run), grad);
            let loss = |x: &[f64]| x.iter().zip(&g.f64).map(|(x, g)| naive(form, *x) * g).sum::<f64>();
            assert_close(&grad, &finite_difference(&x.f64, loss), 1e-6);
        }
    }

    #[test]
    fn far_values_neither_overflow_nor_vanish() {
        let far = [-1e30f32, -50.0, 0.0, 50.0, 1e30];
        for form in FORMS {
            let (mut grad, mut out) = (far, [2.0; 5]);
            gelu_backward(form, &mut grad, &mut out);
            assert_eq!(out, [0.0, 0.0, 0.0, 50.0, 1e30], "{form:?}");
            assert_eq!(grad, [0.0, 0.0, 1.0, 2.0, 2.0], "{form:?}");
            let (mut grad, mut out) = ([f32::NAN], [1.0]);
            gelu_backward(form, &mut grad, &mut out);
            assert!(grad[0].is_nan() && out[0].is_nan());
        }
    }
}
