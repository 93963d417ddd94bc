//! The forward pass of attention.

use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, block_keys, transpose};
use super::scratch::{Shared, with_scratch};
use super::shape::{AttentionShape, KeyValues, Segments};
use super::softmax::{Running, softmax_tile};
use super::visible::{Plan, VisibleKeys};
use crate::scalar::ln32;
use crate::simd::LANES;
use crate::tile_product::{Left, PANEL, Right, multiply};

/// Rows of a tile.
const TILE: usize = PANEL;
/// The values of a block of keys, and how many keys it has at most. Where a block ends the sums are rescaled, so the bits
/// depend on both.
const BLOCK: [usize; 2] = [196_608, 768];

/// `out = softmax(scale · q kᵀ) v` per batch row and head, over the keys that `visible` names.
///
/// q and out are `[B, Lq, H, Dh]`; `segments` are the keys and values, `[B, L, KV, Dh]` each, in their order: the result has
/// the bits that one segment of all of them gives. `log_sum_exp`, if given, is `[B, H, Lq]` and receives the natural
/// logarithm of each query's softmax denominator (-inf for a query without keys, whose output is zero), which
/// [`super::attention_backward`] needs.
pub fn attention(
    shape: AttentionShape,
    q: &[f32],
    segments: &[KeyValues<'_>],
    scale: f32,
    visible: &dyn VisibleKeys,
    out: &mut [f32],
    log_sum_exp: Option<&mut [f32]>,
) {
    shape.check(q);
    let segments = Segments::new(&shape, segments);
    assert_eq!(out.len(), q.len(), "attention: out must have the shape of q");
    if let Some(lse) = &log_sum_exp {
        assert_eq!(lse.len(), shape.lse_len(), "attention: log_sum_exp is not [B, H, Lq] of {shape:?}");
    }
    if out.is_empty() {
        return;
    }
    let plan = Plan::new(&shape, visible, TILE);
    let forward = Forward {
        shape: &shape,
        plan: &plan,
        q,
        segments: &segments,
        scale,
        out: Shared::new(out),
        lse: log_sum_exp.map(Shared::new),
    };
    let pieces = pieces(plan.tiles(), shape.tasks(), rayon::current_num_threads());
    (0..shape.tasks() * pieces).into_par_iter().for_each(|at| {
        let (task, piece) = (at / pieces, at % pieces);
        forward.run(task, plan.tiles() * piece / pieces..plan.tiles() * (piece + 1) / pieces);
    });
}

/// Into how many pieces the rows of a task are cut, so that all threads have work: each piece packs the keys by itself, so
/// pieces of less than eight tiles are made only where threads would go without.
fn pieces(tiles: usize, tasks: usize, threads: usize) -> usize {
    let balanced = (4 * threads).div_ceil(tasks).min(tiles / 8);
    let needed = threads.div_ceil(tasks).min(tiles);
    balanced.max(needed).max(1)
}

struct Forward<'a> {
    shape: &'a AttentionShape,
    plan: &'a Plan,
    q: &'a [f32],
    segments: &'a Segments<'a>,
    scale: f32,
    out: Shared,
    lse: Option<Shared>,
}

/// The memory of one call: a block of keys and values, a tile's queries as columns, its scores and its sums, and what is known
/// of every row of the call.
struct Buffers<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    columns: &'a mut [f32],
    scores: &'a mut [f32],
    sums: &'a mut [f32],
    largest: &'a mut [f32],
    sum: &'a mut [f32],
    factor: &'a mut [f32],
}

impl Forward<'_> {
    /// The rows `tiles` of one task, block of keys by block.
    fn run(&self, task: usize, tiles: Range<usize>) {
        let (dim, padded, step) =
            (self.shape.head_dim, self.shape.padded_dim(), block_keys(self.shape.head_dim, BLOCK));
        let (most, lanes) = (step.min(self.shape.keys), tiles.len() * TILE);
        let block = [most * padded, most * padded.next_multiple_of(PANEL)];
        let lengths = [block[0], block[1], dim * PANEL, most * TILE, TILE * padded, lanes, lanes, TILE];
        with_scratch(lengths, |[keys, values, columns, scores, sums, largest, sum, factor]| {
            largest.fill(f32::NEG_INFINITY);
            sum.fill(0.0);
            let mut buffers = Buffers { keys, values, columns, scores, sums, largest, sum, factor };
            for start in (0..self.shape.keys).step_by(step) {
                let block = start..self.shape.keys.min(start + step);
                let span = self.plan.span(tiles.clone(), block.clone());
                if span.is_empty() {
                    continue;
                }
                let data = Block { shape: self.shape, segments: self.segments, task, span: span.clone() };
                data.pack_forward(padded, buffers.keys, buffers.values);
                for (i, tile) in tiles.clone().enumerate() {
                    self.tile(task, tile, i * TILE, &block, &span, &mut buffers);
                }
            }
            for (i, tile) in tiles.enumerate() {
                self.finish(task, tile, &buffers.largest[i * TILE..], &buffers.sum[i * TILE..]);
            }
        });
    }

    /// A tile of rows and the keys of a block, of which `span` is packed. Between blocks the sums lie in `out`, not yet
    /// divided.
    fn tile(
        &self,
        task: usize,
        tile: usize,
        state: usize,
        block: &Range<usize>,
        span: &Range<usize>,
        buffers: &mut Buffers<'_>,
    ) {
        let (dim, padded) = (self.shape.head_dim, self.shape.padded_dim());
        let Buffers { keys, values, columns, scores, sums, largest, sum, factor } = buffers;
        let (rows, met) = (self.plan.rows(tile), self.plan.met(tile));
        let runs: Vec<_> = self.plan.runs(tile, block.clone()).collect();
        if runs.is_empty() {
            return;
        }
        let (count, lanes) = (rows.len(), rows.len().next_multiple_of(LANES));
        let places = self.shape.places(task, rows);
        for (to, (offset, _)) in sums.chunks_exact_mut(padded).zip(places.clone()) {
            to[..dim].copy_from_slice(&self.q[offset..offset + dim]);
        }
        transpose(count, dim, |i| &sums[i * padded..], self.scale, columns);
        for run in &runs {
            let at = run.start - span.start;
            let left = Left { data: &keys[at * padded..], row_stride: padded, column_stride: 1 };
            let right = Right { data: columns, row_stride: PANEL, panel_stride: dim * PANEL };
            multiply([run.len(), lanes, dim], left, right, &mut scores[at * TILE..], TILE, false);
            self.plan.for_each_unseen(tile, run, |i, unseen| {
                unseen.for_each(|key| scores[(key - span.start) * TILE + i] = f32::NEG_INFINITY);
            });
        }
        let state = state..state + lanes;
        let mut running = Running {
            largest: &mut largest[state.clone()],
            sum: &mut sum[state.clone()],
            factor: &mut factor[..lanes],
        };
        softmax_tile(scores, TILE, span.start, &runs, &mut running);
        sums[..count * padded].fill(0.0);
        if met.start < block.start {
            for ((sums, (offset, _)), factor) in sums.chunks_exact_mut(padded).zip(places.clone()).zip(&**factor) {
                // SAFETY: `attention` still borrows `out`, and only this call uses the rows of its tiles.
                unsafe { self.out.read(offset, &mut sums[..dim], *factor) };
            }
        }
        for run in &runs {
            let at = run.start - span.start;
            let left = Left { data: &scores[at * TILE..], row_stride: 1, column_stride: TILE };
            let right = Right { data: &values[at * PANEL..], row_stride: PANEL, panel_stride: span.len() * PANEL };
            multiply([count, padded, run.len()], left, right, sums, padded, true);
        }
        let done = met.end <= block.end;
        for ((sums, (offset, _)), total) in sums.chunks_exact(padded).zip(places).zip(&sum[state]) {
            let factor = if done { inverse(*total) } else { 1.0 };
            // SAFETY: `attention` still borrows `out`, and only this call uses the rows of its tiles.
            unsafe { self.out.write(offset, &sums[..dim], factor) };
        }
    }

    /// What is left of a tile after all blocks.
    fn finish(&self, task: usize, tile: usize, largest: &[f32], sum: &[f32]) {
        let places = self.shape.places(task, self.plan.rows(tile));
        for ((offset, lse_offset), (largest, sum)) in places.zip(largest.iter().zip(sum)) {
            // SAFETY: `attention` still borrows both slices, and only this call uses the rows of its tiles.
            unsafe {
                if self.plan.met(tile).is_empty() {
                    self.out.zero(offset, self.shape.head_dim);
                }
                if let Some(lse) = self.lse {
                    lse.write(lse_offset, &[largest + ln32(*sum)], 1.0);
                }
            }
        }
    }
}

/// 1 / sum, and 0 for a row without keys.
fn inverse(sum: f32) -> f32 {
    if sum > 0.0 { 1.0 / sum } else { 0.0 }
}
