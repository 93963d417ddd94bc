//! SwiGLU, forward and backward.
//!
//! Shazeer 2020 (arXiv 2002.05202): `out = silu(gate) · up`, `silu(x) = x · σ(x)`, `σ(x) = 1 / (1 + exp(-x))`.
//! Backward: `grad_gate = g · up · σ · (1 + gate · (1 - σ))` and `grad_up = g · silu(gate)`.
//! All slices have one length; for a model `[B, L, F]` with F the width of the MLP. The joined forms take gate and up as the two
//! halves of rows `[N, 2F]`, as one product of both weights gives them.

use rayon::prelude::*;

use crate::exp::exp_lanes;
use crate::simd::{LANES, Simd, dispatch};

/// `out = silu(gate) · up`, element by element.
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == out.len(), "swiglu: gate, up and out must have one length");
    out.par_chunks_mut(CHUNK)
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
        .for_each(|(out, (gate, up))| forward_chunk(gate, up, out));
}

/// The gradients of [`swiglu`] to `gate` and `up`; both are written, not added to.
pub fn swiglu_backward(gate: &[f32], up: &[f32], grad_out: &[f32], grad_gate: &mut [f32], grad_up: &mut [f32]) {
    let len = gate.len();
    assert!(
        up.len() == len && grad_out.len() == len && grad_gate.len() == len && grad_up.len() == len,
        "swiglu_backward: all slices must have one length"
    );
    grad_gate
        .par_chunks_mut(CHUNK)
        .zip(grad_up.par_chunks_mut(CHUNK))
        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(grad_out.par_chunks(CHUNK)))
        .for_each(|((grad_gate, grad_up), ((gate, up), grad_out))| {
            backward_chunk(gate, up, grad_out, grad_gate, grad_up);
        });
}

/// [`swiglu`] of rows `[N, 2F]`, gate before up: `out` is `[N, inner]`.
pub fn swiglu_joined(joined: &[f32], inner: usize, out: &mut [f32]) {
    check_joined(joined.len(), inner, out.len());
    let rows = rows_per_task(inner);
    out.par_chunks_mut(rows * inner).zip(joined.par_chunks(2 * rows * inner)).for_each(|(out, joined)| {
        for (out, joined) in out.chunks_exact_mut(inner).zip(joined.chunks_exact(2 * inner)) {
            let (gate, up) = joined.split_at(inner);
            forward_chunk(gate, up, out);
        }
    });
}

/// The backward pass of [`swiglu_joined`]: the rows `[N, 2F]` become their own gradient, and `grad` `[N, F]`, the gradient of the
/// output, becomes the output once more, which the product above needs for the gradient of its weight.
pub fn swiglu_joined_backward(joined: &mut [f32], inner: usize, grad: &mut [f32]) {
    check_joined(joined.len(), inner, grad.len());
    let rows = rows_per_task(inner);
    joined.par_chunks_mut(2 * rows * inner).zip(grad.par_chunks_mut(rows * inner)).for_each(|(joined, grad)| {
        for (joined, grad) in joined.chunks_exact_mut(2 * inner).zip(grad.chunks_exact_mut(inner)) {
            let (gate, up) = joined.split_at_mut(inner);
            turn_chunk(gate, up, grad);
        }
    });
}

/// Values per parallel task.
const CHUNK: usize = 1 << 13;

fn check_joined(joined: usize, inner: usize, out: usize) {
    assert!(inner > 0 && out.is_multiple_of(inner), "swiglu: {out} values are not rows of {inner}");
    assert_eq!(joined, 2 * out, "swiglu: joined must be [N, 2F] and out [N, F]");
}

fn rows_per_task(inner: usize) -> usize {
    (CHUNK / inner).max(1)
}

fn forward_chunk(gate: &[f32], up: &[f32], out: &mut [f32]) {
    dispatch!(forward_body(gate: &[f32], up: &[f32], out: &mut [f32]))
}

#[inline(always)]
fn forward_body<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((gate, up), out) in gate.chunks(LANES).zip(up.chunks(LANES)).zip(out.chunks_mut(LANES)) {
        let gate = s.load_partial(gate, 0.0);
        let silu = s.mul(gate, sigmoid(s, gate));
        s.store_partial(s.mul(silu, s.load_partial(up, 0.0)), out);
    }
}

#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp_lanes(s, s.sub(s.splat(0.0), x))))
}

fn backward_chunk(gate: &[f32], up: &[f32], grad_out: &[f32], grad_gate: &mut [f32], grad_up: &mut [f32]) {
    dispatch!(backward_body(
        gate: &[f32],
        up: &[f32],
        grad_out: &[f32],
        grad_gate: &mut [f32],
        grad_up: &mut [f32],
    ))
}

#[inline(always)]
fn backward_body<S: Simd>(
    s: S,
    gate: &[f32],
    up: &[f32],
    grad_out: &[f32],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) {
    let one = s.splat(1.0);
    let inputs = gate.chunks(LANES).zip(up.chunks(LANES)).zip(grad_out.chunks(LANES));
    let outputs = grad_gate.chunks_mut(LANES).zip(grad_up.chunks_mut(LANES));
    for (((gate, up), grad_out), (grad_gate, grad_up)) in inputs.zip(outputs) {
        let (gate, up) = (s.load_partial(gate, 0.0), s.load_partial(up, 0.0));
        let g = s.load_partial(grad_out, 0.0);
        let sigma = sigmoid(s, gate);
        let slope = s.mul(sigma, s.fma(gate, s.sub(one, sigma), one));
        s.store_partial(s.mul(s.mul(g, up), slope), grad_gate);
        s.store_partial(s.mul(g, s.mul(gate, sigma)), grad_up);
    }
}

fn turn_chunk(gate: &mut [f32], up: &mut [f32], grad: &mut [f32]) {
    dispatch!(turn_body(gate: &mut [f32], up: &mut [f32], grad: &mut [f32]))
}

/// As [`backward_body`], in place.
#[inline(always)]
fn turn_body<S: Simd>(s: S, gate: &mut [f32], up: &mut [f32], grad: &mut [f32]) {
    let one = s.splat(1.0);
    let inputs = gate.chunks_mut(LANES).zip(up.chunks_mut(LANES));
    for ((to_gate, to_up), to_grad) in inputs.zip(grad.chunks_mut(LANES)) {
        let (gate, up) = (s.load_partial(to_gate, 0.0), s.load_partial(to_up, 0.0));
        let g = s.load_partial(to_grad, 0.0);
        let sigma = sigmoid(s, gate);
        let silu = s.mul(gate, sigma);
        let slope = s.mul(sigma, s.fma(gate, s.sub(one, sigma), one));
        s.store_partial(s.mul(s.mul(g, up), slope), to_gate);
        s.store_partial(s.mul(g, silu), to_up);
        s.store_partial(s.mul(silu, up), to_grad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, finite_difference, noise, on_threads};
    use crate::simd::at_each_level;

    fn naive(gate: &[f64], up: &[f64]) -> Vec<f64> {
        gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
    }

    #[test]
    fn forward_matches_f64_at_every_level() {
        for len in [0, 1, 15, 16, 17, 20_001] {
            let (gate, up) = (noise(1, len), noise(2, len));
            let out = at_each_level(|| {
                let mut out = vec![0.0; len];
                swiglu(&gate.f32, &up.f32, &mut out);
                out
            });
            assert_close(&out, &naive(&gate.f64, &up.f64), 1e-6);
        }
    }

    #[test]
    fn large_gates_neither_overflow_nor_vanish() {
        let mut out = [0.0; 3];
        swiglu(&[-200.0, 200.0, 0.0], &[3.0, 3.0, 3.0], &mut out);
        assert_eq!(out, [0.0, 600.0, 0.0]);
        let (mut a, mut b) = ([0.0; 2], [0.0; 2]);
        swiglu_backward(&[-200.0, 200.0], &[3.0, 3.0], &[1.0, 1.0], &mut a, &mut b);
        assert_eq!((a, b), ([0.0, 3.0], [0.0, 200.0]));
    }

    #[test]
    fn backward_matches_finite_differences() {
        let len = 37;
        let (gate, up, g) = (noise(3, len), noise(4, len), noise(5, len));
        let (grad_gate, grad_up) = at_each_level(|| {
            let (mut grad_gate, mut grad_up) = (vec![0.0; len], vec![0.0; len]);
            swiglu_backward(&gate.f32, &up.f32, &g.f32, &mut grad_gate, &mut grad_up);
            (grad_gate, grad_up)
        });
        let loss = |gate: &[f64], up: &[f64]| naive(gate, up).iter().zip(&g.f64).map(|(a, b)| a * b).sum::<f64>();
        assert_close(&grad_gate, &finite_difference(&gate.f64, |x| loss(x, &up.f64)), 1e-6);
        assert_close(&grad_up, &finite_difference(&up.f64, |x| loss(&gate.f64, x)), 1e-6);
    }
    /// The joined forms give the bits of the plain ones, for any number of threads.
    #[test]
    fn joined_rows_are_the_plain_form_row_by_row() {
        for (rows, inner) in [(1, 1), (3, 17), (700, 48)] {
            let (gate, up, g) = (noise(6, rows * inner), noise(7, rows * inner), noise(8, rows * inner));
            let join = |gate: &[f32], up: &[f32]| -> Vec<f32> {
                gate.chunks_exact(inner).zip(up.chunks_exact(inner)).flat_map(|(a, b)| [a, b].concat()).collect()
            };
            let joined = join(&gate.f32, &up.f32);
            let run = || {
                let (mut out, mut again, mut grad) = (vec![0.0; g.len()], g.f32.clone(), joined.clone());
                swiglu_joined(&joined, inner, &mut out);
                swiglu_joined_backward(&mut grad, inner, &mut again);
                (out, again, grad)
            };
            let found = at_each_level(run);
            assert_eq!(on_threads(3, run), found);
            let (mut out, mut a, mut b) = (vec![0.0; g.len()], vec![0.0; g.len()], vec![0.0; g.len()]);
            swiglu(&gate.f32, &up.f32, &mut out);
            swiglu_backward(&gate.f32, &up.f32, &g.f32, &mut a, &mut b);
            assert_eq!(found, (out.clone(), out, join(&a, &b)));
        }
    }
}
