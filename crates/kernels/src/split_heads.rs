//! From the joined product of an attention layer to its queries, keys and values, and back, in one pass each.
//!
//! A row `[3 H Dh]` holds the H queries of a cell, then its keys, then its values. Queries and keys may pass an RMSNorm over each
//! head (QK-norm, Henry et al. 2020, arXiv 2010.04245, with the norm of Qwen3) and then the rotation of [`crate::rope`]. The
//! results have the bits of [`crate::rms_norm`] and [`crate::rope_in_place`] one after the other.
//! Shapes: joined `[N, 3 H Dh]`, q, k, v `[N, H Dh]`; N = B·L, and a cell's place in its row of the batch is its index modulo L.

use rayon::prelude::*;

use crate::norm::{backward_row, normalise_row};
use crate::rope::rotate_head;
use crate::simd::{Simd, dispatch};

/// What happens between the product and the attention.
#[derive(Clone, Copy, Debug)]
pub struct SplitHeads<'a> {
    /// H.
    pub heads: usize,
    /// Dh.
    pub head_dim: usize,
    /// The weights `[Dh]` of the norms of queries and keys, and their epsilon.
    pub norms: Option<([&'a [f32]; 2], f32)>,
    /// The rotation of queries and keys.
    pub rotation: Option<Rotation<'a>>,
}

/// The angles of [`crate::rope_tables`], and the L positions of a row.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// `[P, Dh / 2]`.
    pub cos: &'a [f32],
    /// `[P, Dh / 2]`.
    pub sin: &'a [f32],
    /// `[L]`, each below P.
    pub positions: &'a [usize],
}

impl SplitHeads<'_> {
    /// Splits, normalises and rotates.
    pub fn forward(&self, joined: &[f32], q: &mut [f32], k: &mut [f32], v: &mut [f32]) {
        let width = self.check(joined.len(), [q.len(), k.len(), v.len()]);
        let outs = q.par_chunks_mut(CELLS * width).zip(k.par_chunks_mut(CELLS * width));
        joined
            .par_chunks(3 * CELLS * width)
            .zip(outs.zip(v.par_chunks_mut(CELLS * width)))
            .enumerate()
            .for_each(|(task, (joined, ((q, k), v)))| forward_cells(self, task * CELLS, joined, q, k, v));
    }

    /// Turns the joined rows into their own gradient. `grad_norms` `[2, Dh]` receives the gradients of the norms' weights, summed
    /// by chunks of 64 cells, whatever the threads; without norms it is zero.
    pub fn backward(&self, joined: &mut [f32], [q, k, v]: [&[f32]; 3], grad_norms: &mut [f32]) {
        let width = self.check(joined.len(), [q.len(), k.len(), v.len()]);
        let dim = self.head_dim;
        assert_eq!(grad_norms.len(), 2 * dim, "split_heads: grad_norms is not [2, Dh]");
        grad_norms.fill(0.0);
        let mut partial = vec![0.0f32; joined.len().div_ceil(3 * CELLS * width) * 2 * dim];
        let grads = q.par_chunks(CELLS * width).zip(k.par_chunks(CELLS * width));
        joined
            .par_chunks_mut(3 * CELLS * width)
            .zip(partial.par_chunks_mut(2 * dim))
            .zip(grads.zip(v.par_chunks(CELLS * width)))
            .enumerate()
            .for_each(|(task, ((joined, partial), ((q, k), v)))| {
                backward_cells(self, task * CELLS, joined, [q, k, v], partial);
            });
        for part in partial.chunks_exact(2 * dim) {
            for (sum, x) in grad_norms.iter_mut().zip(part) {
                *sum += x;
            }
        }
    }

    /// H · Dh.
    fn check(&self, joined: usize, parts: [usize; 3]) -> usize {
        let (width, dim) = (self.heads * self.head_dim, self.head_dim);
        assert!(width > 0 && joined.is_multiple_of(3 * width), "split_heads: {joined} values are not [N, 3 · {width}]");
        assert!(parts.iter().all(|len| 3 * len == joined), "split_heads: q, k and v must be [N, {width}]");
        if let Some((weights, _)) = self.norms {
            assert!(weights.iter().all(|w| w.len() == dim), "split_heads: the norms' weights must be [{dim}]");
        }
        if let Some(Rotation { cos, sin, positions }) = self.rotation {
            assert!(dim.is_multiple_of(2), "split_heads: head_dim {dim} must be even");
            assert_eq!(cos.len(), sin.len(), "split_heads: cos and sin must have one shape");
            let rows = cos.len() / (dim / 2);
            assert!(positions.iter().all(|p| *p < rows), "split_heads: a position is beyond the {rows} of the tables");
            let cells = joined / (3 * width);
            assert!(
                cells == 0 || (!positions.is_empty() && cells.is_multiple_of(positions.len())),
                "split_heads: {cells} cells are not rows of {}",
                positions.len()
            );
        }
        width
    }

    /// The cosines and sines of a cell.
    #[inline(always)]
    fn angles(&self, cell: usize) -> Option<(&[f32], &[f32])> {
        let Rotation { cos, sin, positions } = self.rotation?;
        let half = self.head_dim / 2;
        let row = positions[cell % positions.len()] * half;
        Some((&cos[row..row + half], &sin[row..row + half]))
    }
}

/// Cells per parallel task, and per partial sum of the norms' gradients.
const CELLS: usize = 64;

fn forward_cells(split: &SplitHeads<'_>, first: usize, joined: &[f32], q: &mut [f32], k: &mut [f32], v: &mut [f32]) {
    dispatch!(forward_body(split: &SplitHeads<'_>, first: usize, joined: &[f32], q: &mut [f32], k: &mut [f32], v: &mut [f32]))
}

#[inline(always)]
fn forward_body<S: Simd>(
    s: S,
    split: &SplitHeads<'_>,
    first: usize,
    joined: &[f32],
    q: &mut [f32],
    k: &mut [f32],
    v: &mut [f32],
) {
    let (dim, width) = (split.head_dim, split.heads * split.head_dim);
    let outs = q.chunks_exact_mut(width).zip(k.chunks_exact_mut(width)).zip(v.chunks_exact_mut(width));
    for (cell, (row, ((q, k), v))) in joined.chunks_exact(3 * width).zip(outs).enumerate() {
        let angles = split.angles(first + cell);
        for (part, out) in [q, k].into_iter().enumerate() {
            let heads = row[part * width..][..width].chunks_exact(dim).zip(out.chunks_exact_mut(dim));
            for (x, out) in heads {
                match &split.norms {
                    Some((weights, eps)) => normalise_row(s, x, weights[part], *eps, out),
                    None => out.copy_from_slice(x),
                }
                if let Some((cos, sin)) = angles {
                    rotate_head(s, out, cos, sin, 1.0);
                }
            }
        }
        v.copy_from_slice(&row[2 * width..]);
    }
}

fn backward_cells(split: &SplitHeads<'_>, first: usize, joined: &mut [f32], grads: [&[f32]; 3], norms: &mut [f32]) {
    dispatch!(backward_body(
        split: &SplitHeads<'_>,
        first: usize,
        joined: &mut [f32],
        grads: [&[f32]; 3],
        norms: &mut [f32],
    ))
}

#[inline(always)]
fn backward_body<S: Simd>(
    s: S,
    split: &SplitHeads<'_>,
    first: usize,
    joined: &mut [f32],
    [q, k, v]: [&[f32]; 3],
    norms: &mut [f32],
) {
    let (dim, width) = (split.head_dim, split.heads * split.head_dim);
    let mut scratch = vec![0.0; 2 * dim];
    let (turned, input) = scratch.split_at_mut(dim);
    let grads = q.chunks_exact(width).zip(k.chunks_exact(width)).zip(v.chunks_exact(width));
    for (cell, (row, ((q, k), v))) in joined.chunks_exact_mut(3 * width).zip(grads).enumerate() {
        let angles = split.angles(first + cell);
        for (part, grad) in [q, k].into_iter().enumerate() {
            let heads = row[part * width..][..width].chunks_exact_mut(dim).zip(grad.chunks_exact(dim));
            for (x, grad) in heads {
                turned.copy_from_slice(grad);
                if let Some((cos, sin)) = angles {
                    rotate_head(s, turned, cos, sin, -1.0);
                }
                match &split.norms {
                    Some((weights, eps)) => {
                        input.copy_from_slice(x);
                        let sums = &mut norms[part * dim..][..dim];
                        backward_row(s, input, weights[part], *eps, turned, None, x, sums);
                    }
                    None => x.copy_from_slice(turned),
                }
            }
        }
        row[2 * width..].copy_from_slice(v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{noise, on_threads};
    use crate::simd::at_each_level;
    use crate::{rms_norm, rms_norm_backward, rope_in_place, rope_inverse_in_place, rope_tables};

    /// The columns of one of the three parts.
    fn part(joined: &[f32], width: usize, part: usize) -> Vec<f32> {
        joined.chunks_exact(3 * width).flat_map(|row| row[part * width..][..width].to_vec()).collect()
    }

    #[test]
    fn it_is_the_norm_and_the_rotation_one_after_the_other() {
        let positions = [0usize, 5, 1, 2, 9];
        for (heads, head_dim, rows) in [(3, 8, 2), (2, 64, 40), (1, 34, 3)] {
            let (width, cells) = (heads * head_dim, rows * positions.len());
            let joined = noise(1, cells * 3 * width).f32;
            let weights = [noise(2, head_dim).f32, noise(3, head_dim).f32];
            let grads = [noise(4, cells * width).f32, noise(5, cells * width).f32, noise(6, cells * width).f32];
            let (cos, sin) = rope_tables(10, head_dim, 10_000.0);
            for (normed, turned) in [(true, true), (true, false), (false, true), (false, false)] {
                let split = SplitHeads {
                    heads,
                    head_dim,
                    norms: normed.then_some(([&weights[0], &weights[1]], 1e-5)),
                    rotation: turned.then_some(Rotation { cos: &cos, sin: &sin, positions: &positions }),
                };
                let run = || {
                    let [mut q, mut k, mut v] = [(); 3].map(|()| vec![0.0; cells * width]);
                    split.forward(&joined, &mut q, &mut k, &mut v);
                    let (mut grad, mut norms) = (joined.clone(), vec![7.0; 2 * head_dim]);
                    split.backward(&mut grad, [&grads[0], &grads[1], &grads[2]], &mut norms);
                    ([q, k, v], grad, norms)
                };
                let (outs, grad, norms) = at_each_level(run);
                assert!(on_threads(3, run) == (outs.clone(), grad.clone(), norms.clone()));
                assert_eq!(outs[2], part(&joined, width, 2));
                assert_eq!(part(&grad, width, 2), grads[2]);
                for at in 0..2 {
                    let x = part(&joined, width, at);
                    let (mut out, mut back) = (x.clone(), grads[at].clone());
                    let (mut grad_x, mut grad_w) = (x.clone(), vec![0.0; head_dim]);
                    if normed {
                        rms_norm(&x, &weights[at], 1e-5, &mut out);
                    }
                    if turned {
                        rope_in_place(&mut out, heads, head_dim, &cos, &sin, &positions);
                        rope_inverse_in_place(&mut back, heads, head_dim, &cos, &sin, &positions);
                    }
                    match normed {
                        true => rms_norm_backward(&x, &weights[at], 1e-5, &back, &mut grad_x, &mut grad_w),
                        false => grad_x = back,
                    }
                    assert_eq!(outs[at], out);
                    assert_eq!(part(&grad, width, at), grad_x);
                    // The norm alone sums by other chunks.
                    for (found, expected) in norms[at * head_dim..][..head_dim].iter().zip(&grad_w) {
                        assert!((found - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{found} and {expected}");
                    }
                }
            }
        }
    }
}
