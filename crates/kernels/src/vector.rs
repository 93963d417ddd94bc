//! Operations on whole vectors, threaded: sums, averages, norms.
//!
//! Every value is computed by itself, or summed by chunks of a fixed size, so threads change no bit.

use rayon::prelude::*;

use crate::simd::{LANES, Simd, dispatch};

/// `to += from`.
pub fn add(from: &[f32], to: &mut [f32]) {
    combine(1.0, to, 1.0, from);
}

/// `to = a · to + b · from`, both products rounded.
pub fn combine(a: f32, to: &mut [f32], b: f32, from: &[f32]) {
    assert_eq!(to.len(), from.len(), "vector: both must have one length");
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| combine_chunk(a, to, b, from));
}

/// `to += share · (from - to)`: a step of a running average.
pub fn approach(share: f32, to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len(), "vector: both must have one length");
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| approach_chunk(share, to, from));
}

/// `to = a · from`.
pub fn scaled(a: f32, from: &[f32], to: &mut [f32]) {
    assert_eq!(to.len(), from.len(), "vector: both must have one length");
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| scale_chunk(a, from, to));
}

/// The sum of squares, in f64.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(square_chunk).collect();
    parts.iter().sum()
}

/// Values per parallel task, and per partial sum.
const CHUNK: usize = 1 << 14;

fn combine_chunk(a: f32, to: &mut [f32], b: f32, from: &[f32]) {
    dispatch!(combine_body(a: f32, to: &mut [f32], b: f32, from: &[f32]))
}

#[inline(always)]
fn combine_body<S: Simd>(s: S, a: f32, to: &mut [f32], b: f32, from: &[f32]) {
    let (a, b) = (s.splat(a), s.splat(b));
    for (to, from) in to.chunks_mut(LANES).zip(from.chunks(LANES)) {
        let sum = s.add(s.mul(a, s.load_partial(to, 0.0)), s.mul(b, s.load_partial(from, 0.0)));
        s.store_partial(sum, to);
    }
}

fn approach_chunk(share: f32, to: &mut [f32], from: &[f32]) {
    dispatch!(approach_body(share: f32, to: &mut [f32], from: &[f32]))
}

#[inline(always)]
fn approach_body<S: Simd>(s: S, share: f32, to: &mut [f32], from: &[f32]) {
    let share = s.splat(share);
    for (to, from) in to.chunks_mut(LANES).zip(from.chunks(LANES)) {
        let now = s.load_partial(to, 0.0);
        s.store_partial(s.add(now, s.mul(share, s.sub(s.load_partial(from, 0.0), now))), to);
    }
}

fn scale_chunk(a: f32, from: &[f32], to: &mut [f32]) {
    dispatch!(scale_body(a: f32, from: &[f32], to: &mut [f32]))
}

#[inline(always)]
fn scale_body<S: Simd>(s: S, a: f32, from: &[f32], to: &mut [f32]) {
    let a = s.splat(a);
    for (to, from) in to.chunks_mut(LANES).zip(from.chunks(LANES)) {
        s.store_partial(s.mul(a, s.load_partial(from, 0.0)), to);
    }
}

fn square_chunk(x: &[f32]) -> f64 {
    dispatch!(square_body(x: &[f32]) -> f64)
}

/// Sixteen sums side by side, which the compiler turns into vectors, then their sum in order.
#[inline(always)]
fn square_body<S: Simd>(_: S, x: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let lanes = x.chunks_exact(LANES);
    let rest = lanes.remainder();
    for lanes in lanes {
        for (sum, x) in sums.iter_mut().zip(lanes) {
            *sum += f64::from(*x) * f64::from(*x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*x) * f64::from(*x);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{noise, on_threads};
    use crate::simd::at_each_level;

    #[test]
    fn each_value_is_what_it_says_at_every_level_and_thread_count() {
        for len in [0, 1, 17, 50_001] {
            let (x, y) = (noise(1, len), noise(2, len));
            let run = || {
                let [mut sum, mut mix, mut mean, mut part] = [(); 4].map(|()| y.f32.clone());
                add(&x.f32, &mut sum);
                combine(0.3, &mut mix, -2.0, &x.f32);
                approach(0.1, &mut mean, &x.f32);
                scaled(0.7, &x.f32, &mut part);
                (sum, mix, mean, part, sum_of_squares(&x.f32))
            };
            let (sum, mix, mean, part, squares) = at_each_level(run);
            assert!(on_threads(3, run) == (sum.clone(), mix.clone(), mean.clone(), part.clone(), squares));
            for (i, (x, y)) in x.f32.iter().zip(&y.f32).enumerate() {
                assert_eq!(sum[i], y + x);
                assert_eq!(mix[i], 0.3 * y + -2.0 * x);
                assert_eq!(mean[i], y + 0.1 * (x - y));
                assert_eq!(part[i], 0.7 * x);
            }
            let expected: f64 = x.f64.iter().map(|x| x * x).sum();
            assert!((squares - expected).abs() <= 1e-12 * expected);
        }
    }
}
