//! Root-mean-square normalisation, forward and backward.
//!
//! Zhang and Sennrich 2019 (arXiv 1910.07467), eq. 4, with an epsilon as in Llama: with `s = (mean(x²) + ε)^(-1/2)`,
//! `out = x · s · weight`. Backward, for the gradient g of the output,
//! `grad_x = s · (g · weight) - x · s³ / D · Σ(g · weight · x)` and `grad_weight = Σ over rows of g · x · s`.
//! Rows are `[N, D]` with D = `weight.len()`; for a model N = B·L. The residual forms add the stream that goes past the norm.

use rayon::prelude::*;

use crate::simd::{LANES, Simd, dispatch};

/// Normalises each row: `x` and `out` are `[N, D]`, `weight` is `[D]`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    check_rows(x.len(), width);
    assert_eq!(x.len(), out.len(), "rms_norm: out must have the shape of x");
    if x.is_empty() {
        return;
    }
    let chunk = ROWS * width;
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(out, x)| forward_rows(x, weight, eps, out));
}

/// The gradients of [`rms_norm`]: `x`, `grad_out` and `grad_x` are `[N, D]`, `weight` and `grad_weight` are `[D]`.
/// Both gradients are written, not added to. The sum over rows goes by chunks of 64 rows, whatever the threads.
pub fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad_out: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    backward(x, weight, eps, grad_out, None, grad_x, grad_weight);
}

/// `sum = x + delta` and `out = rms_norm(sum)` in one pass: a residual stream and the norm that reads it. All are `[N, D]`.
pub fn add_rms_norm(x: &[f32], delta: &[f32], weight: &[f32], eps: f32, sum: &mut [f32], out: &mut [f32]) {
    let width = weight.len();
    check_rows(x.len(), width);
    assert!(
        x.len() == delta.len() && x.len() == sum.len() && x.len() == out.len(),
        "add_rms_norm: x, delta, sum and out must have one shape"
    );
    let chunk = ROWS * width;
    out.par_chunks_mut(chunk)
        .zip(sum.par_chunks_mut(chunk))
        .zip(x.par_chunks(chunk).zip(delta.par_chunks(chunk)))
        .for_each(|((out, sum), (x, delta))| {
            add_rows(x, delta, sum);
            forward_rows(sum, weight, eps, out);
        });
}

/// As [`rms_norm_backward`], with `past` `[N, D]` added to the gradient of x: that of the residual stream which goes past the
/// norm.
pub fn rms_norm_backward_add(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad_out: &[f32],
    past: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    assert_eq!(x.len(), past.len(), "rms_norm_backward: past must have the shape of x");
    backward(x, weight, eps, grad_out, Some(past), grad_x, grad_weight);
}

/// Rows per parallel task, and per partial sum of the weight's gradient.
const ROWS: usize = 64;

fn check_rows(len: usize, width: usize) {
    assert!(width > 0 && len.is_multiple_of(width), "rms_norm: {len} values are not whole rows of width {width}");
}

fn backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad_out: &[f32],
    past: Option<&[f32]>,
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    let width = weight.len();
    check_rows(x.len(), width);
    assert_eq!(x.len(), grad_out.len(), "rms_norm_backward: grad_out must have the shape of x");
    assert_eq!(x.len(), grad_x.len(), "rms_norm_backward: grad_x must have the shape of x");
    assert_eq!(width, grad_weight.len(), "rms_norm_backward: grad_weight must have the shape of weight");
    grad_weight.fill(0.0);
    if x.is_empty() {
        return;
    }
    let chunk = ROWS * width;
    let mut partial = vec![0.0f32; x.len().div_ceil(chunk) * width];
    grad_x
        .par_chunks_mut(chunk)
        .zip(partial.par_chunks_mut(width))
        .zip(x.par_chunks(chunk).zip(grad_out.par_chunks(chunk)))
        .enumerate()
        .for_each(|(task, ((grad_x, partial), (x, grad_out)))| {
            let past = past.map(|past| &past[task * chunk..][..x.len()]);
            backward_rows(x, weight, eps, grad_out, past, grad_x, partial);
        });
    for row in partial.chunks_exact(width) {
        for (sum, x) in grad_weight.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

fn add_rows(x: &[f32], delta: &[f32], sum: &mut [f32]) {
    dispatch!(add_body(x: &[f32], delta: &[f32], sum: &mut [f32]))
}

#[inline(always)]
fn add_body<S: Simd>(s: S, x: &[f32], delta: &[f32], sum: &mut [f32]) {
    for ((x, delta), sum) in x.chunks(LANES).zip(delta.chunks(LANES)).zip(sum.chunks_mut(LANES)) {
        s.store_partial(s.add(s.load_partial(x, 0.0), s.load_partial(delta, 0.0)), sum);
    }
}

fn forward_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    dispatch!(forward_body(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]))
}

#[inline(always)]
fn forward_body<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        normalise_row(s, x, weight, eps, out);
    }
}

/// One row of [`rms_norm`].
#[inline(always)]
pub(crate) fn normalise_row<S: Simd>(s: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    let inverse = s.splat(inverse_rms(s, x, eps));
    for start in (0..width).step_by(LANES) {
        let end = width.min(start + LANES);
        let w = s.load_partial(&weight[start..end], 0.0);
        let v = s.load_partial(&x[start..end], 0.0);
        s.store_partial(s.mul(s.mul(v, inverse), w), &mut out[start..end]);
    }
}

/// `(mean(x²) + ε)^(-1/2)` of one row.
#[inline(always)]
fn inverse_rms<S: Simd>(s: S, x: &[f32], eps: f32) -> f32 {
    let mut sum = s.splat(0.0);
    for lanes in x.chunks(LANES) {
        let v = s.load_partial(lanes, 0.0);
        sum = s.fma(v, v, sum);
    }
    1.0 / (s.sum(sum) / x.len() as f32 + eps).sqrt()
}

fn backward_rows(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad_out: &[f32],
    past: Option<&[f32]>,
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    dispatch!(backward_body(
        x: &[f32],
        weight: &[f32],
        eps: f32,
        grad_out: &[f32],
        past: Option<&[f32]>,
        grad_x: &mut [f32],
        grad_weight: &mut [f32],
    ))
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward_body<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad_out: &[f32],
    past: Option<&[f32]>,
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    let width = weight.len();
    let rows = x.chunks_exact(width).zip(grad_out.chunks_exact(width)).zip(grad_x.chunks_exact_mut(width));
    for (row, ((x, g), grad_x)) in rows.enumerate() {
        let past = past.map(|past| &past[row * width..][..width]);
        backward_row(s, x, weight, eps, g, past, grad_x, grad_weight);
    }
}

/// The gradients of one row; that of the weight is added.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward_row<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    g: &[f32],
    past: Option<&[f32]>,
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    let width = weight.len();
    let inverse = inverse_rms(s, x, eps);
    let mut dot = s.splat(0.0);
    for start in (0..width).step_by(LANES) {
        let end = width.min(start + LANES);
        let gw = s.mul(s.load_partial(&g[start..end], 0.0), s.load_partial(&weight[start..end], 0.0));
        dot = s.fma(gw, s.load_partial(&x[start..end], 0.0), dot);
    }
    let factor = s.splat(-(inverse * inverse * inverse) * s.sum(dot) / width as f32);
    let inverse = s.splat(inverse);
    for start in (0..width).step_by(LANES) {
        let end = width.min(start + LANES);
        let v = s.load_partial(&x[start..end], 0.0);
        let gs = s.mul(s.load_partial(&g[start..end], 0.0), inverse);
        let gradient = s.fma(gs, s.load_partial(&weight[start..end], 0.0), s.mul(v, factor));
        let gradient = match past {
            Some(past) => s.add(s.load_partial(&past[start..end], 0.0), gradient),
            None => gradient,
        };
        s.store_partial(gradient, &mut grad_x[start..end]);
        let sum = s.fma(gs, v, s.load_partial(&grad_weight[start..end], 0.0));
        s.store_partial(sum, &mut grad_weight[start..end]);
    }
}

#[cfg(test)]
mod tests;
