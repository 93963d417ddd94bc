//! Rotary position embedding, in place, and its inverse.
//!
//! Su et al. 2021 (arXiv 2104.09864), in the half-split order of GPT-NeoX and Llama: the pair (i, i + Dh/2) of a head
//! is turned by the angle `position · base^(-2i/Dh)`. A rotation is orthogonal, so the backward pass is the inverse
//! rotation of the gradient.
//! Shapes: x `[B, L, H, Dh]`, tables `[P, Dh/2]`, positions `[L]`, the same for every row of the batch.

use rayon::prelude::*;

use crate::scalar::{cos_sin, power};
use crate::simd::{LANES, Simd, dispatch};

/// The cosines and sines of the angles `position · base^(-2i/head_dim)`: two tables `[positions, head_dim / 2]`,
/// computed in f64.
pub fn rope_tables(positions: usize, head_dim: usize, base: f64) -> (Vec<f32>, Vec<f32>) {
    assert!(head_dim.is_multiple_of(2), "rope_tables: head_dim {head_dim} is odd");
    let half = head_dim / 2;
    let frequencies: Vec<f64> = (0..half).map(|i| power(base, -2.0 * i as f64 / head_dim as f64)).collect();
    let angles = (0..positions).flat_map(|position| frequencies.iter().map(move |turn| position as f64 * turn));
    angles.map(cos_sin).map(|[cos, sin]| (cos as f32, sin as f32)).unzip()
}

/// Turns every head of `x` `[B, L, heads, head_dim]` by its position; B follows from the length of `x`.
/// `cos` and `sin` are `[P, head_dim / 2]`, `positions` is `[L]` with values below P.
pub fn rope_in_place(x: &mut [f32], heads: usize, head_dim: usize, cos: &[f32], sin: &[f32], positions: &[usize]) {
    rotate_all(x, heads, head_dim, cos, sin, positions, 1.0);
}

/// Undoes [`rope_in_place`]: the backward pass, applied to the gradient.
pub fn rope_inverse_in_place(
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
    positions: &[usize],
) {
    rotate_all(x, heads, head_dim, cos, sin, positions, -1.0);
}

/// Values per parallel task, about.
const CHUNK: usize = 1 << 13;

fn rotate_all(x: &mut [f32], heads: usize, head_dim: usize, cos: &[f32], sin: &[f32], positions: &[usize], sign: f32) {
    assert!(head_dim > 0 && head_dim.is_multiple_of(2), "rope: head_dim {head_dim} must be even");
    assert_eq!(cos.len(), sin.len(), "rope: cos and sin must have one shape");
    let half = head_dim / 2;
    let width = heads * head_dim;
    let canvas = positions.len();
    let per_row = width * canvas;
    assert!(
        if per_row == 0 { x.is_empty() } else { x.len().is_multiple_of(per_row) },
        "rope: {} values are not [B, {canvas}, {heads}, {head_dim}]",
        x.len()
    );
    let rows = cos.len() / half;
    assert!(positions.iter().all(|p| *p < rows), "rope: a position is beyond the {rows} rows of the tables");
    if x.is_empty() {
        return;
    }
    let cells = (CHUNK / width).max(1);
    x.par_chunks_mut(cells * width).enumerate().for_each(|(chunk, x)| {
        for (cell, x) in x.chunks_exact_mut(width).enumerate() {
            let row = positions[(chunk * cells + cell) % canvas] * half;
            rotate_cell(x, head_dim, &cos[row..row + half], &sin[row..row + half], sign);
        }
    });
}

fn rotate_cell(x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32) {
    dispatch!(rotate_body(x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32))
}

/// Turns all heads `[H, Dh]` of one cell by the angles of one position.
#[inline(always)]
fn rotate_body<S: Simd>(s: S, x: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], sign: f32) {
    for head in x.chunks_exact_mut(head_dim) {
        rotate_head(s, head, cos, sin, sign);
    }
}

/// Turns one head by the angles of one position, back if `sign` is -1.
#[inline(always)]
pub(crate) fn rotate_head<S: Simd>(s: S, head: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = head.len() / 2;
    let sign = s.splat(sign);
    let (low, high) = head.split_at_mut(half);
    for start in (0..half).step_by(LANES) {
        let end = half.min(start + LANES);
        let c = s.load_partial(&cos[start..end], 0.0);
        let n = s.mul(s.load_partial(&sin[start..end], 0.0), sign);
        let (a, b) = (s.load_partial(&low[start..end], 0.0), s.load_partial(&high[start..end], 0.0));
        s.store_partial(s.sub(s.mul(a, c), s.mul(b, n)), &mut low[start..end]);
        s.store_partial(s.fma(b, c, s.mul(a, n)), &mut high[start..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, noise};
    use crate::simd::at_each_level;

    #[test]
    fn matches_f64_and_inverts() {
        for (batch, heads, head_dim, positions) in
            [(2, 3, 8, vec![0, 5, 1]), (1, 1, 2, vec![4]), (3, 2, 64, (3..40).collect()), (1, 2, 34, vec![7, 7])]
        {
            let canvas = positions.len();
            let x = noise(1, batch * canvas * heads * head_dim);
            let (cos, sin) = rope_tables(40, head_dim, 10_000.0);
            let turned = at_each_level(|| {
                let mut y = x.f32.clone();
                rope_in_place(&mut y, heads, head_dim, &cos, &sin, &positions);
                y
            });
            let mut expected = x.f64.clone();
            let half = head_dim / 2;
            for (i, head) in expected.chunks_exact_mut(head_dim).enumerate() {
                let position = positions[i / heads % canvas] as f64;
                for j in 0..half {
                    let angle = position * 10_000f64.powf(-2.0 * j as f64 / head_dim as f64);
                    let (a, b) = (head[j], head[j + half]);
                    head[j] = a * angle.cos() - b * angle.sin();
                    head[j + half] = b * angle.cos() + a * angle.sin();
                }
            }
            assert_close(&turned, &expected, 1e-6);
            let mut back = turned;
            rope_inverse_in_place(&mut back, heads, head_dim, &cos, &sin, &positions);
            assert_close(&back, &x.f64, 1e-6);
        }
    }
}
