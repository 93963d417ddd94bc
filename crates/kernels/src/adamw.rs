//! AdamW in one pass: both moments and the value are read and written once.
//!
//! Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2. Bias corrections come in as factors, so that a step is the same
//! for every value. All slices have one length.

use rayon::prelude::*;

use crate::simd::{Simd, dispatch};

/// The numbers of one update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// What the gradient is multiplied by: the clipping of its norm.
    pub scale: f32,
    /// The decay rates of both moments.
    pub betas: [f32; 2],
    /// The learning rate over the first moment's bias correction.
    pub stride: f32,
    /// One over the second moment's bias correction.
    pub root: f32,
    /// What the value is multiplied by: 1 - rate · weight decay.
    pub shrink: f32,
}

impl AdamWStep {
    /// `m += (1 - b1)(g - m)`, `v += (1 - b2)(g² - v)`, `value = value · shrink - stride · m / (√(v · root) + 1e-8)`, with g the
    /// scaled gradient.
    pub fn apply(&self, values: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32]) {
        let len = values.len();
        assert!(
            grad.len() == len && first.len() == len && second.len() == len,
            "adamw: values, gradient and moments must have one length"
        );
        values
            .par_chunks_mut(CHUNK)
            .zip(first.par_chunks_mut(CHUNK))
            .zip(grad.par_chunks(CHUNK).zip(second.par_chunks_mut(CHUNK)))
            .for_each(|((values, first), (grad, second))| step(self, values, grad, first, second));
    }
}

/// Values per parallel task.
const CHUNK: usize = 1 << 14;

fn step(by: &AdamWStep, values: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32]) {
    dispatch!(step_body(by: &AdamWStep, values: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32]))
}

/// Plain operations, each rounded by itself: the compiler's vectors give the bits of its scalars.
#[inline(always)]
fn step_body<S: Simd>(_: S, by: &AdamWStep, values: &mut [f32], grad: &[f32], first: &mut [f32], second: &mut [f32]) {
    let AdamWStep { scale, betas: [b1, b2], stride, root, shrink } = *by;
    for (((value, grad), m), v) in values.iter_mut().zip(grad).zip(first).zip(second) {
        let grad = grad * scale;
        *m += (1.0 - b1) * (grad - *m);
        *v += (1.0 - b2) * (grad * grad - *v);
        *value = *value * shrink - stride * *m / ((*v * root).sqrt() + 1e-8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, noise, on_threads};
    use crate::simd::at_each_level;

    #[test]
    fn it_matches_f64_with_the_same_bits_at_every_level_and_thread_count() {
        let len = 40_003;
        let (values, grad, m, v) = (noise(1, len), noise(2, len), noise(3, len), noise(4, len));
        let by = AdamWStep { scale: 0.7, betas: [0.9, 0.95], stride: 0.01, root: 1.3, shrink: 0.999 };
        let run = || {
            let (mut x, mut first) = (values.f32.clone(), m.f32.clone());
            let mut second: Vec<f32> = v.f32.iter().map(|v| v.abs()).collect();
            by.apply(&mut x, &grad.f32, &mut first, &mut second);
            (x, first, second)
        };
        let (x, first, second) = at_each_level(run);
        assert!(on_threads(3, run) == (x.clone(), first.clone(), second.clone()));
        let g: Vec<f64> = grad.f64.iter().map(|g| 0.7 * g).collect();
        let m: Vec<f64> = g.iter().zip(&m.f64).map(|(g, m)| 0.9 * m + 0.1 * g).collect();
        let v: Vec<f64> = g.iter().zip(&v.f64).map(|(g, v)| 0.95 * v.abs() + 0.05 * g * g).collect();
        let step = |i: usize| values.f64[i] * 0.999 - 0.01 * m[i] / ((v[i] * 1.3).sqrt() + 1e-8);
        assert_close(&first, &m, 1e-6);
        assert_close(&second, &v, 1e-6);
        assert_close(&x, &(0..len).map(step).collect::<Vec<_>>(), 1e-6);
    }
}
