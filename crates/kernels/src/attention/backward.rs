//! The backward pass of attention.
//!
//! With P the probabilities and g the gradient of the output, per head: `dV = Pᵀ g`, `dP = g Vᵀ`,
//! `dS = P ∘ (dP - rowsum(P ∘ dP))`, `dQ = scale · dS K`, `dK = scale · dSᵀ Q`.

use std::ops::Range;

use rayon::prelude::*;

use super::forward::{clear_unseen, scores};
use super::head::{Heads, cut, gather_columns, gather_rows, with_scratch};
use super::shape::AttentionShape;
use super::visible::{Plan, TILE, VisibleKeys};
use crate::exp::exp_lanes;
use crate::simd::{LANES, Simd, dispatch};
use crate::tile_product::{Left, PANEL, Right, multiply};

/// The gradients of [`super::attention`] to q, k and v; all three are written, not added to.
///
/// q, `grad_out` and `grad_q` are `[B, Lq, H, Dh]`, k, v, `grad_k` and `grad_v` `[B, Lk, H, Dh]`; `log_sum_exp` is the
/// `[B, H, Lq]` of the forward pass with the same scale and rule.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    scale: f32,
    visible: &dyn VisibleKeys,
    log_sum_exp: &[f32],
    grad_out: &[f32],
    grad_q: &mut [f32],
    grad_k: &mut [f32],
    grad_v: &mut [f32],
) {
    shape.check(q, k, v);
    assert_eq!(log_sum_exp.len(), shape.lse_len(), "attention_backward: log_sum_exp is not [B, H, Lq] of {shape:?}");
    assert_eq!(grad_out.len(), q.len(), "attention_backward: grad_out must have the shape of q");
    assert_eq!(grad_q.len(), q.len(), "attention_backward: grad_q must have the shape of q");
    assert_eq!(grad_k.len(), k.len(), "attention_backward: grad_k must have the shape of k");
    assert_eq!(grad_v.len(), v.len(), "attention_backward: grad_v must have the shape of v");
    if q.is_empty() || k.is_empty() {
        grad_q.fill(0.0);
        grad_k.fill(0.0);
        grad_v.fill(0.0);
        return;
    }
    let plan = Plan::new(&shape, visible);
    let grads = [grad_q, grad_k, grad_v].map(Heads::new);
    log_sum_exp.par_chunks(shape.queries).enumerate().for_each(|(task, lse)| {
        backward_head(&shape, &plan, task, [q, k, v, grad_out], scale, lse, grads);
    });
}

fn backward_head(
    shape: &AttentionShape,
    plan: &Plan,
    task: usize,
    [q, k, v, g]: [&[f32]; 4],
    scale: f32,
    lse: &[f32],
    [grad_q, grad_k, grad_v]: [Heads; 3],
) {
    let (dim, padded, keys, stride) = (shape.head_dim, shape.padded_dim(), shape.padded_keys(), shape.stride());
    let row = keys + LANES; // not a power of two apart, which would fill few sets of the cache
    let (query_offset, key_offset) = (shape.query_offset(task), shape.key_offset(task));
    let (q, g, k, v) = (&q[query_offset..], &g[query_offset..], &k[key_offset..], &v[key_offset..]);
    let [panels, matrix, tile] = [keys * dim, keys * padded, TILE * padded];
    let lengths = [panels, panels, matrix, matrix, matrix, tile, tile, tile, TILE * row, TILE * row];
    with_scratch(lengths.iter().sum(), |mut scratch| {
        let [kt, vt, ks, dk, dv, qs, gs, dq, p, ds] = lengths.map(|len| cut(&mut scratch, len));
        gather_columns(k, stride, shape.keys, dim, kt);
        gather_columns(v, stride, shape.keys, dim, vt);
        let (seen, beyond) = ks.split_at_mut(shape.keys * padded);
        gather_rows(k, stride, dim, padded, 1.0, seen);
        beyond.fill(0.0);
        dk.fill(0.0);
        dv.fill(0.0);
        for (queries, runs) in plan.tiles() {
            let count = queries.len();
            let rows_of = |data| Left { data, row_stride: padded, column_stride: 1 };
            gather_rows(&q[queries.start * stride..], stride, dim, padded, scale, &mut qs[..count * padded]);
            gather_rows(&g[queries.start * stride..], stride, dim, padded, 1.0, &mut gs[..count * padded]);
            scores([count, dim], rows_of(qs), kt, runs, p, row);
            scores([count, dim], rows_of(gs), vt, runs, ds, row);
            for i in 0..count {
                let (p, ds) = (&mut p[i * row..][..keys], &mut ds[i * row..][..keys]);
                let ranges = plan.ranges(queries.start + i);
                score_gradient_row(p, ds, ranges, lse[queries.start + i]);
                clear_unseen(p, ranges, runs);
                clear_unseen(ds, ranges, runs);
            }
            dq[..count * padded].fill(0.0);
            for run in runs {
                let size = [run.len(), padded, count];
                let transposed = |data| Left { data, row_stride: 1, column_stride: row };
                let rows = |data| Right { data, row_stride: padded, panel_stride: PANEL };
                let keys = run.start * padded..run.end * padded;
                multiply(size, transposed(&p[run.start..]), rows(gs), &mut dv[keys.clone()], padded, true);
                multiply(size, transposed(&ds[run.start..]), rows(qs), &mut dk[keys.clone()], padded, true);
                let left = Left { data: &ds[run.start..], row_stride: row, column_stride: 1 };
                multiply([count, padded, run.len()], left, rows(&ks[keys]), dq, padded, true);
            }
            for (i, query) in queries.enumerate() {
                // SAFETY: the caller still borrows the gradients; only this task writes this head of this batch row.
                unsafe { grad_q.write_row(query_offset + query * stride, &dq[i * padded..][..dim], scale) };
            }
        }
        for key in 0..shape.keys {
            let (offset, row) = (key_offset + key * stride, key * padded..key * padded + dim);
            // SAFETY: as above. The queries were scaled, so dk is complete.
            unsafe {
                grad_k.write_row(offset, &dk[row.clone()], 1.0);
                grad_v.write_row(offset, &dv[row], 1.0);
            }
        }
    });
}

/// Turns scores into probabilities (in `p`) and the gradient of the probabilities into that of the scores (in `ds`).
fn score_gradient_row(p: &mut [f32], ds: &mut [f32], ranges: &[Range<usize>; 2], lse: f32) {
    dispatch!(score_gradient_body(p: &mut [f32], ds: &mut [f32], ranges: &[Range<usize>; 2], lse: f32))
}

#[inline(always)]
fn score_gradient_body<S: Simd>(s: S, p: &mut [f32], ds: &mut [f32], ranges: &[Range<usize>; 2], lse: f32) {
    let shift = s.splat(if lse == f32::NEG_INFINITY { 0.0 } else { lse });
    let mut dot = s.splat(0.0);
    for range in ranges {
        for (p, ds) in p[range.clone()].chunks_mut(LANES).zip(ds[range.clone()].chunks(LANES)) {
            let value = exp_lanes(s, s.sub(s.load_partial(p, f32::NEG_INFINITY), shift));
            s.store_partial(value, p);
            dot = s.fma(value, s.load_partial(ds, 0.0), dot);
        }
    }
    let dot = s.splat(s.sum(dot));
    for range in ranges {
        for (p, ds) in p[range.clone()].chunks(LANES).zip(ds[range.clone()].chunks_mut(LANES)) {
            let value = s.mul(s.load_partial(p, 0.0), s.sub(s.load_partial(ds, 0.0), dot));
            s.store_partial(value, ds);
        }
    }
}
