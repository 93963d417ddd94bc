//! The backward pass of attention.
//!
//! With P the probabilities, g the gradient of the output O and `δ = rowsum(g ∘ O)`, per head: `dV = Pᵀ g`, `dP = g Vᵀ`,
//! `dS = scale · P ∘ (dP - δ)`, `dQ = dS K`, `dK = dSᵀ Q`. One task does all of it for a key head, unless that left threads
//! without work: then some tasks give dQ of some rows and others dK and dV of some keys, and the products for P and dP are
//! made twice. Every gradient is one chain of sums in the order of keys (dQ) or rows (dK, dV), so neither choice changes a bit.

use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, block_keys, transpose, write_row};
use super::parts::{Part, parts};
use super::scratch::{Shared, with_scratch};
use super::shape::{AttentionShape, KeyValues, Segments};
use super::softmax::{Slopes, dot, score_gradient};
use super::visible::{Plan, VisibleKeys};
use crate::simd::LANES;
use crate::tile_product::{Left, PANEL, Right, multiply};

/// Rows of a tile.
const TILE: usize = 2 * PANEL;
/// The values of a block of keys, and how many keys it has at most.
const BLOCK: [usize; 2] = [98_304, 384];

/// The gradients of [`super::attention`] to q and to the keys and values of the last segment; those of the segments before
/// are constants. All three are written, not added to.
///
/// q, `out`, `grad_out` and `grad_q` are `[B, Lq, H, Dh]`, `grad_k` and `grad_v` have the shape of the last segment; `out`
/// and `log_sum_exp`, `[B, H, Lq]`, are those of the forward pass with the same scale and rule.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    shape: AttentionShape,
    q: &[f32],
    segments: &[KeyValues<'_>],
    scale: f32,
    visible: &dyn VisibleKeys,
    out: &[f32],
    log_sum_exp: &[f32],
    grad_out: &[f32],
    grad_q: &mut [f32],
    grad_k: &mut [f32],
    grad_v: &mut [f32],
) {
    shape.check(q);
    let last = segments.last().map_or(0, |last| last.keys.len());
    let segments = Segments::new(&shape, segments);
    assert_eq!(out.len(), q.len(), "attention_backward: out must have the shape of q");
    assert_eq!(log_sum_exp.len(), shape.lse_len(), "attention_backward: log_sum_exp is not [B, H, Lq] of {shape:?}");
    assert_eq!(grad_out.len(), q.len(), "attention_backward: grad_out must have the shape of q");
    assert_eq!(grad_q.len(), q.len(), "attention_backward: grad_q must have the shape of q");
    assert_eq!(grad_k.len(), last, "attention_backward: grad_k must have the shape of the last segment");
    assert_eq!(grad_v.len(), last, "attention_backward: grad_v must have the shape of the last segment");
    if q.is_empty() || shape.keys == 0 {
        grad_q.fill(0.0);
        grad_k.fill(0.0);
        grad_v.fill(0.0);
        return;
    }
    let plan = Plan::new(&shape, visible, TILE);
    let backward = Backward {
        shape: &shape,
        plan: &plan,
        segments: &segments,
        inputs: [q, out, log_sum_exp, grad_out],
        scale,
        grad_q: Shared::new(grad_q),
        grad_k: Shared::new(grad_k),
        grad_v: Shared::new(grad_v),
    };
    let parts = parts(&shape, &plan, segments.last(), rayon::current_num_threads());
    (0..shape.tasks() * parts.len()).into_par_iter().for_each(|at| {
        backward.run(at / parts.len(), &parts[at % parts.len()]);
    });
}

/// The width of a packed row: not a power of two, which would fill few sets of the cache.
fn width(padded: usize) -> usize {
    padded + LANES
}

struct Backward<'a> {
    shape: &'a AttentionShape,
    plan: &'a Plan,
    segments: &'a Segments<'a>,
    /// q, the output, the log-sum-exps and the gradient of the output.
    inputs: [&'a [f32]; 4],
    scale: f32,
    grad_q: Shared,
    grad_k: Shared,
    grad_v: Shared,
}

/// The memory of one part: a block of keys and values with their gradients, a tile's queries and gradients of the output as
/// rows and as columns, its scores, and what is known of every row of the part.
struct Buffers<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    grad_keys: &'a mut [f32],
    grad_values: &'a mut [f32],
    rows: [&'a mut [f32]; 2],
    columns: [&'a mut [f32]; 2],
    scores: &'a mut [f32],
    slopes: &'a mut [f32],
    sums: &'a mut [f32],
    lse: &'a mut [f32],
    delta: &'a mut [f32],
}

impl Backward<'_> {
    fn run(&self, task: usize, part: &Part) {
        let (dim, padded, step) =
            (self.shape.head_dim, self.shape.padded_dim(), block_keys(self.shape.head_dim, BLOCK));
        let (most, lanes) = (step.min(part.keys.len()), part.tiles.len() * TILE);
        let (packed, block, tile, columns, scores) =
            (most * width(padded), most * padded, TILE * padded, TILE * dim, most * TILE);
        let lengths = [packed, packed, block, block, tile, tile, columns, columns, scores, scores, tile, lanes, lanes];
        with_scratch(lengths, |[keys, values, dk, dv, q, g, qt, gt, scores, slopes, sums, lse, delta]| {
            let (rows, columns) = ([q, g], [qt, gt]);
            let mut buffers = Buffers {
                keys,
                values,
                grad_keys: dk,
                grad_values: dv,
                rows,
                columns,
                scores,
                slopes,
                sums,
                lse,
                delta,
            };
            self.prepare(task, part, buffers.lse, buffers.delta);
            for start in part.keys.clone().step_by(step) {
                let block = start..part.keys.end.min(start + step);
                self.block(task, part, block, &mut buffers);
            }
        });
    }

    /// All rows of a part and a block of keys.
    fn block(&self, task: usize, part: &Part, block: Range<usize>, buffers: &mut Buffers<'_>) {
        let (dim, padded, graded) = (self.shape.head_dim, self.shape.padded_dim(), self.segments.last());
        // The keys whose gradients are wanted.
        let wanted = if part.keys_values { block.start.max(graded.start)..block.end } else { 0..0 };
        let span = self.plan.span(part.tiles.clone(), block.clone());
        let data = Block { shape: self.shape, segments: self.segments, task, span: span.clone() };
        data.pack_rows(width(padded), buffers.keys, buffers.values);
        buffers.grad_keys[..span.len() * padded].fill(0.0);
        buffers.grad_values[..span.len() * padded].fill(0.0);
        for (i, tile) in part.tiles.clone().enumerate() {
            let runs: Vec<_> = self.plan.runs(tile, block.clone()).collect();
            if runs.is_empty() {
                continue;
            }
            let rows = self.plan.rows(tile);
            self.load(task, rows.clone(), buffers);
            self.scores(tile, i * TILE, &runs, span.start, buffers);
            for run in &runs {
                self.add_to_keys(run.start.max(wanted.start)..run.end.min(wanted.end), rows.len(), span.start, buffers);
            }
            if part.queries {
                self.load_sums(task, rows.clone(), self.plan.met(tile).start < block.start, buffers.sums);
                for run in &runs {
                    let at = run.start - span.start;
                    let left = Left { data: &buffers.slopes[at * TILE..], row_stride: 1, column_stride: TILE };
                    let data = &buffers.keys[at * width(padded)..];
                    let right = Right { data, row_stride: width(padded), panel_stride: PANEL };
                    multiply([rows.len(), padded, run.len()], left, right, buffers.sums, padded, true);
                }
                self.store_sums(task, rows, buffers.sums);
            }
        }
        let (first, stride) = self.shape.key_places(task, graded.len());
        for key in wanted {
            let offset = first + (key - graded.start) * stride;
            // SAFETY: `attention_backward` still borrows the gradients, and only this part has these keys.
            unsafe {
                if span.contains(&key) {
                    let at = (key - span.start) * padded;
                    self.grad_k.write(offset, &buffers.grad_keys[at..at + dim], 1.0);
                    self.grad_v.write(offset, &buffers.grad_values[at..at + dim], 1.0);
                } else {
                    self.grad_k.zero(offset, dim);
                    self.grad_v.zero(offset, dim);
                }
            }
        }
    }

    /// The probabilities of a tile and the gradients of its scores.
    fn scores(&self, tile: usize, state: usize, runs: &[Range<usize>], first: usize, buffers: &mut Buffers<'_>) {
        let (dim, width) = (self.shape.head_dim, width(self.shape.padded_dim()));
        let Buffers { keys, values, columns, scores, slopes, lse, delta, .. } = buffers;
        let lanes = self.plan.rows(tile).len().next_multiple_of(LANES);
        for run in runs {
            let at = run.start - first;
            let left = |data| Left { data, row_stride: width, column_stride: 1 };
            let right = |data| Right { data, row_stride: PANEL, panel_stride: dim * PANEL };
            let size = [run.len(), lanes, dim];
            multiply(size, left(&keys[at * width..]), right(columns[0]), &mut scores[at * TILE..], TILE, false);
            multiply(size, left(&values[at * width..]), right(columns[1]), &mut slopes[at * TILE..], TILE, false);
            self.plan.for_each_unseen(tile, run, |i, unseen| {
                unseen.for_each(|key| scores[(key - first) * TILE + i] = f32::NEG_INFINITY);
            });
        }
        let state = state..state + lanes;
        let tile = Slopes { scores, slopes, width: TILE, first };
        score_gradient(tile, runs, &lse[state.clone()], &delta[state], self.scale);
    }

    /// Adds what `count` rows give to the gradients of the keys `run` and of their values.
    fn add_to_keys(&self, run: Range<usize>, count: usize, first: usize, buffers: &mut Buffers<'_>) {
        if run.is_empty() {
            return;
        }
        let padded = self.shape.padded_dim();
        let (size, from) = ([run.len(), padded, count], (run.start - first) * TILE);
        let left = |data| Left { data, row_stride: TILE, column_stride: 1 };
        let right = |data| Right { data, row_stride: padded, panel_stride: PANEL };
        let to = (run.start - first) * padded..(run.end - first) * padded;
        let Buffers { grad_keys, grad_values, rows: [q, g], scores, slopes, .. } = buffers;
        multiply(size, left(&scores[from..]), right(g), &mut grad_values[to.clone()], padded, true);
        multiply(size, left(&slopes[from..]), right(q), &mut grad_keys[to], padded, true);
    }

    /// What a part knows of its rows beforehand: log-sum-exp and δ of each, zeros in the lanes beyond; gradients of rows that
    /// see nothing are zero.
    fn prepare(&self, task: usize, part: &Part, lse: &mut [f32], delta: &mut [f32]) {
        let [_, out, all_lse, g] = self.inputs;
        lse.fill(0.0);
        delta.fill(0.0);
        for tile in part.tiles.clone() {
            let first = (tile - part.tiles.start) * TILE;
            for (at, (offset, lse_offset)) in (first..).zip(self.shape.places(task, self.plan.rows(tile))) {
                let values = offset..offset + self.shape.head_dim;
                lse[at] = all_lse[lse_offset];
                delta[at] = dot(&g[values.clone()], &out[values]);
                if part.queries && self.plan.met(tile).is_empty() {
                    // SAFETY: `attention_backward` still borrows the gradient, and only this part has this row.
                    unsafe { self.grad_q.zero(offset, self.shape.head_dim) };
                }
            }
        }
    }

    /// Queries and gradients of the output: as rows `[rows, padded]`, and as columns.
    fn load(&self, task: usize, rows: Range<usize>, buffers: &mut Buffers<'_>) {
        let (dim, padded) = (self.shape.head_dim, self.shape.padded_dim());
        let [q, _, _, g] = self.inputs;
        let to = buffers.rows.iter_mut().zip(&mut buffers.columns);
        for ((from, factor), (to, columns)) in [(q, self.scale), (g, 1.0)].into_iter().zip(to) {
            for (to, (offset, _)) in to.chunks_exact_mut(padded).zip(self.shape.places(task, rows.clone())) {
                write_row(&from[offset..offset + dim], to);
            }
            transpose(rows.len(), dim, |i| &to[i * padded..], factor, columns);
        }
    }

    /// The sums of a tile's dQ so far, `[rows, padded]`.
    fn load_sums(&self, task: usize, rows: Range<usize>, begun: bool, dq: &mut [f32]) {
        let (dim, padded) = (self.shape.head_dim, self.shape.padded_dim());
        dq[..rows.len() * padded].fill(0.0);
        if begun {
            for (dq, (offset, _)) in dq.chunks_exact_mut(padded).zip(self.shape.places(task, rows)) {
                // SAFETY: `attention_backward` still borrows the gradient, and only this part has this row.
                unsafe { self.grad_q.read(offset, &mut dq[..dim], 1.0) };
            }
        }
    }

    fn store_sums(&self, task: usize, rows: Range<usize>, dq: &[f32]) {
        let (dim, padded) = (self.shape.head_dim, self.shape.padded_dim());
        for (dq, (offset, _)) in dq.chunks_exact(padded).zip(self.shape.places(task, rows)) {
            // SAFETY: as above.
            unsafe { self.grad_q.write(offset, &dq[..dim], 1.0) };
        }
    }
}
