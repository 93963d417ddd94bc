//! The forward pass of attention.

use std::ops::Range;

use rayon::prelude::*;

use super::head::{Heads, cut, gather_columns, gather_rows, with_scratch};
use super::shape::AttentionShape;
use super::visible::{Plan, TILE, VisibleKeys};
use crate::exp::exp_lanes;
use crate::simd::{LANES, Simd, dispatch};
use crate::tile_product::{Left, PANEL, Right, multiply};

/// `out = softmax(scale · q kᵀ) v` per batch row and head, over the keys that `visible` names.
///
/// q and out are `[B, Lq, H, Dh]`, k and v `[B, Lk, H, Dh]`. `log_sum_exp`, if given, is `[B, H, Lq]` and receives the
/// natural logarithm of each query's softmax denominator (-inf for a query without keys, whose output is zero), which
/// [`super::attention_backward`] needs.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    scale: f32,
    visible: &dyn VisibleKeys,
    out: &mut [f32],
    log_sum_exp: Option<&mut [f32]>,
) {
    shape.check(q, k, v);
    assert_eq!(out.len(), q.len(), "attention: out must have the shape of q");
    if let Some(lse) = &log_sum_exp {
        assert_eq!(lse.len(), shape.lse_len(), "attention: log_sum_exp is not [B, H, Lq] of {shape:?}");
    }
    if out.is_empty() {
        return;
    }
    let plan = Plan::new(&shape, visible);
    let out = Heads::new(out);
    let head = |task: usize, lse: Option<&mut [f32]>| forward_head(&shape, &plan, task, [q, k, v], scale, out, lse);
    match log_sum_exp {
        Some(lse) => lse.par_chunks_mut(shape.queries).enumerate().for_each(|(task, lse)| head(task, Some(lse))),
        None => (0..shape.batch * shape.heads).into_par_iter().for_each(|task| head(task, None)),
    }
}

fn forward_head(
    shape: &AttentionShape,
    plan: &Plan,
    task: usize,
    [q, k, v]: [&[f32]; 3],
    scale: f32,
    out: Heads,
    mut lse: Option<&mut [f32]>,
) {
    let (dim, padded, keys, stride) = (shape.head_dim, shape.padded_dim(), shape.padded_keys(), shape.stride());
    let row = keys + LANES; // not a power of two apart, which would fill few sets of the cache
    let (q, k, v) = (&q[shape.query_offset(task)..], &k[shape.key_offset(task)..], &v[shape.key_offset(task)..]);
    let lengths = [keys * dim, keys * padded, TILE * dim, TILE * row, TILE * padded];
    with_scratch(lengths.iter().sum(), |mut scratch| {
        let [kt, vs, qs, p, o] = lengths.map(|len| cut(&mut scratch, len));
        gather_columns(k, stride, shape.keys, dim, kt);
        let (seen, beyond) = vs.split_at_mut(shape.keys * padded);
        gather_rows(v, stride, dim, padded, 1.0, seen);
        beyond.fill(0.0);
        for (queries, runs) in plan.tiles() {
            let count = queries.len();
            gather_rows(&q[queries.start * stride..], stride, dim, dim, scale, &mut qs[..count * dim]);
            let left = Left { data: qs, row_stride: dim, column_stride: 1 };
            scores([count, dim], left, kt, runs, p, row);
            let (mut sums, mut logs) = ([0.0; TILE], [0.0; TILE]);
            for i in 0..count {
                let ranges = plan.ranges(queries.start + i);
                (sums[i], logs[i]) = softmax_row(&mut p[i * row..][..keys], ranges);
                clear_unseen(&mut p[i * row..][..keys], ranges, runs);
            }
            o[..count * padded].fill(0.0);
            for run in runs {
                let left = Left { data: &p[run.start..], row_stride: row, column_stride: 1 };
                let right = Right { data: &vs[run.start * padded..], row_stride: padded, panel_stride: PANEL };
                multiply([count, padded, run.len()], left, right, o, padded, true);
            }
            for (i, query) in queries.enumerate() {
                let factor = if sums[i] > 0.0 { 1.0 / sums[i] } else { 0.0 };
                let offset = shape.query_offset(task) + query * stride;
                // SAFETY: `attention` still borrows `out`, and only this task writes this head of this batch row.
                unsafe { out.write_row(offset, &o[i * padded..i * padded + dim], factor) };
                if let Some(lse) = &mut lse {
                    lse[query] = logs[i];
                }
            }
        }
    });
}

/// The products of a tile of rows `[count, dim]` with transposed panels `[keys / 32, dim, 32]`, over the runs.
pub(super) fn scores(
    [count, dim]: [usize; 2],
    rows: Left<'_>,
    panels: &[f32],
    runs: &[Range<usize>],
    out: &mut [f32],
    out_stride: usize,
) {
    for run in runs {
        let right = Right { data: &panels[run.start * dim..], row_stride: PANEL, panel_stride: dim * PANEL };
        multiply([count, run.len(), dim], rows, right, &mut out[run.start..], out_stride, false);
    }
}

/// Sets to zero what lies in the runs but not in the ranges.
pub(super) fn clear_unseen(row: &mut [f32], [a, b]: &[Range<usize>; 2], runs: &[Range<usize>]) {
    for run in runs {
        let mut start = run.start;
        for range in [a, b].into_iter().filter(|range| !range.is_empty()) {
            if start < range.start.min(run.end) {
                row[start..range.start.min(run.end)].fill(0.0);
            }
            start = start.max(range.end);
        }
        if start < run.end {
            row[start..run.end].fill(0.0);
        }
    }
}

/// Replaces the scores in both ranges by `exp(score - largest)`; returns their sum and the log-sum-exp.
fn softmax_row(row: &mut [f32], ranges: &[Range<usize>; 2]) -> (f32, f32) {
    dispatch!(softmax_row_body(row: &mut [f32], ranges: &[Range<usize>; 2]) -> (f32, f32))
}

#[inline(always)]
fn softmax_row_body<S: Simd>(s: S, row: &mut [f32], ranges: &[Range<usize>; 2]) -> (f32, f32) {
    let mut largest = s.splat(f32::NEG_INFINITY);
    for range in ranges {
        for lanes in row[range.clone()].chunks(LANES) {
            largest = s.max(s.load_partial(lanes, f32::NEG_INFINITY), largest);
        }
    }
    let largest = s.max_lane(largest);
    let shift = s.splat(if largest == f32::NEG_INFINITY { 0.0 } else { largest });
    let mut sum = s.splat(0.0);
    for range in ranges {
        for lanes in row[range.clone()].chunks_mut(LANES) {
            let p = exp_lanes(s, s.sub(s.load_partial(lanes, f32::NEG_INFINITY), shift));
            s.store_partial(p, lanes);
            sum = s.add(sum, p);
        }
    }
    let sum = s.sum(sum);
    (sum, largest + sum.ln())
}
