//! The norm against f64 and finite differences, and its residual forms against the plain ones.

use super::*;
use crate::check::{assert_close, finite_difference, noise, on_threads};
use crate::simd::at_each_level;

const EPS: f32 = 1e-5;

fn naive(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let width = weight.len();
    let mut out = Vec::new();
    for row in x.chunks_exact(width) {
        let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
        let s = 1.0 / (mean + f64::from(EPS)).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * s * w));
    }
    out
}

#[test]
fn forward_matches_f64() {
    for (rows, width) in [(1, 1), (3, 7), (5, 16), (130, 48), (2, 257)] {
        let (x, w) = (noise(1, rows * width), noise(2, width));
        let mut out = vec![0.0; x.len()];
        rms_norm(&x.f32, &w.f32, EPS, &mut out);
        assert_close(&out, &naive(&x.f64, &w.f64), 2e-6);
    }
}

#[test]
fn backward_matches_finite_differences() {
    for (rows, width) in [(1, 1), (3, 7), (2, 33)] {
        let (x, w, g) = (noise(3, rows * width), noise(4, width), noise(5, rows * width));
        let (mut grad_x, mut grad_w) = (vec![0.0; x.len()], vec![0.0; width]);
        rms_norm_backward(&x.f32, &w.f32, EPS, &g.f32, &mut grad_x, &mut grad_w);
        let loss = |x: &[f64], w: &[f64]| naive(x, w).iter().zip(&g.f64).map(|(a, b)| a * b).sum::<f64>();
        assert_close(&grad_x, &finite_difference(&x.f64, |x| loss(x, &w.f64)), 1e-5);
        assert_close(&grad_w, &finite_difference(&w.f64, |w| loss(&x.f64, w)), 1e-5);
    }
}

#[test]
fn same_bits_at_every_level_and_thread_count() {
    let (rows, width) = (200, 50);
    let (x, w, g) = (noise(6, rows * width), noise(7, width), noise(8, rows * width));
    let run = || {
        let (mut out, mut grad_w) = (vec![0.0; x.len()], vec![0.0; width]);
        rms_norm(&x.f32, &w.f32, EPS, &mut out);
        let mut grad_x = vec![0.0; x.len()];
        rms_norm_backward(&x.f32, &w.f32, EPS, &g.f32, &mut grad_x, &mut grad_w);
        (out, grad_x, grad_w)
    };
    let expected = at_each_level(run);
    assert!(on_threads(1, run) == expected && on_threads(3, run) == expected);
}

/// The residual forms give the bits of an addition and the plain ones.
#[test]
fn residual_forms_are_an_addition_and_the_plain_forms() {
    for (rows, width) in [(1, 1), (3, 7), (150, 50)] {
        let (x, delta, w, g) =
            (noise(9, rows * width), noise(10, rows * width), noise(11, width), noise(12, rows * width));
        let run = || {
            let (mut sum, mut out, mut grad_w) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; width]);
            add_rms_norm(&x.f32, &delta.f32, &w.f32, EPS, &mut sum, &mut out);
            let mut grad_x = vec![0.0; x.len()];
            rms_norm_backward_add(&sum, &w.f32, EPS, &g.f32, &delta.f32, &mut grad_x, &mut grad_w);
            (sum, out, grad_x, grad_w)
        };
        let found = at_each_level(run);
        assert!(on_threads(3, run) == found);
        let sum: Vec<f32> = x.f32.iter().zip(&delta.f32).map(|(a, b)| a + b).collect();
        let (mut out, mut grad_x, mut grad_w) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![0.0; width]);
        rms_norm(&sum, &w.f32, EPS, &mut out);
        rms_norm_backward(&sum, &w.f32, EPS, &g.f32, &mut grad_x, &mut grad_w);
        let added = delta.f32.iter().zip(&grad_x).map(|(a, b)| a + b).collect();
        assert!(found == (sum, out, added, grad_w));
    }
}
