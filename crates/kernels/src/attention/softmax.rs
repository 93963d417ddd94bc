//! The softmax of a tile of scores, one query per lane and one key per line, and its gradient.

use std::ops::Range;

use crate::exp::exp_lanes;
use crate::simd::{LANES, Simd, dispatch};

/// What is known of each row of a tile after some of its keys (Milakov and Gimelshein 2018, arXiv 1805.02867).
pub(super) struct Running<'a> {
    /// The largest score.
    pub(super) largest: &'a mut [f32],
    /// The sum of `exp(score - largest)`.
    pub(super) sum: &'a mut [f32],
    /// What the sums of before are to be multiplied by, as `largest` has grown.
    pub(super) factor: &'a mut [f32],
}

/// Replaces the scores of the keys `runs` in a tile `[keys, width]`, whose first key is `first`, by `exp(score - largest)`
/// and brings `running` up to date; its slices hold whole lanes, as many as there are rows.
pub(super) fn softmax_tile(
    scores: &mut [f32],
    width: usize,
    first: usize,
    runs: &[Range<usize>],
    running: &mut Running<'_>,
) {
    dispatch!(softmax_body(scores: &mut [f32], width: usize, first: usize, runs: &[Range<usize>], running: &mut Running<'_>))
}

#[inline(always)]
fn softmax_body<S: Simd>(
    s: S,
    scores: &mut [f32],
    width: usize,
    first: usize,
    runs: &[Range<usize>],
    Running { largest, sum, factor }: &mut Running<'_>,
) {
    for lane in (0..largest.len()).step_by(LANES) {
        let before = s.load(&largest[lane..]);
        let mut maxima = [before; 4];
        for run in runs {
            let lines = &scores[(run.start - first) * width + lane..];
            let mut line = 0;
            while line + 4 <= run.len() {
                for (i, most) in maxima.iter_mut().enumerate() {
                    *most = s.max(s.load(&lines[(line + i) * width..]), *most);
                }
                line += 4;
            }
            while line < run.len() {
                maxima[0] = s.max(s.load(&lines[line * width..]), maxima[0]);
                line += 1;
            }
        }
        let most = s.max(s.max(maxima[0], maxima[1]), s.max(maxima[2], maxima[3]));
        // A row that has seen nothing yet has -inf: its scores are -inf too, and exp(-inf - 0) = 0.
        let shift = s.zero_where_less(most, s.splat(f32::MIN), most);
        let scale = exp_lanes(s, s.sub(before, shift));
        let mut total = s.splat(0.0);
        for run in runs {
            let lines = &mut scores[(run.start - first) * width + lane..];
            for line in 0..run.len() {
                let at = &mut lines[line * width..];
                let p = exp_lanes(s, s.sub(s.load(at), shift));
                s.store(p, at);
                total = s.add(total, p);
            }
        }
        let total = s.fma(s.load(&sum[lane..]), scale, total);
        s.store(most, &mut largest[lane..]);
        s.store(total, &mut sum[lane..]);
        s.store(scale, &mut factor[lane..]);
    }
}

/// A tile's scores and the gradients of its probabilities, both `[keys, width]`.
pub(super) struct Slopes<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) slopes: &'a mut [f32],
    pub(super) width: usize,
    /// The first key.
    pub(super) first: usize,
}

/// Replaces scores by probabilities `p = exp(score - lse)`, and slopes by `scale · p · (slope - delta)`, for the keys `runs`;
/// `lse` and `delta` hold whole lanes, as many as there are rows.
pub(super) fn score_gradient(tile: Slopes<'_>, runs: &[Range<usize>], lse: &[f32], delta: &[f32], scale: f32) {
    dispatch!(score_gradient_body(tile: Slopes<'_>, runs: &[Range<usize>], lse: &[f32], delta: &[f32], scale: f32))
}

#[inline(always)]
fn score_gradient_body<S: Simd>(s: S, tile: Slopes<'_>, runs: &[Range<usize>], lse: &[f32], delta: &[f32], scale: f32) {
    let Slopes { scores, slopes, width, first } = tile;
    for lane in (0..lse.len()).step_by(LANES) {
        let lse = s.load(&lse[lane..]);
        let shift = s.zero_where_less(lse, s.splat(f32::MIN), lse);
        let (delta, scale) = (s.load(&delta[lane..]), s.splat(scale));
        for run in runs {
            let (scores, slopes) =
                (&mut scores[(run.start - first) * width..], &mut slopes[(run.start - first) * width..]);
            let lines = scores.chunks_mut(width).zip(slopes.chunks_mut(width)).take(run.len());
            for (scores, slopes) in lines {
                let p = exp_lanes(s, s.sub(s.load(&scores[lane..]), shift));
                s.store(p, &mut scores[lane..]);
                let slope = s.mul(s.mul(p, scale), s.sub(s.load(&slopes[lane..]), delta));
                s.store(slope, &mut slopes[lane..]);
            }
        }
    }
}

/// `Σ a b` of two rows of the same length.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dispatch!(dot_body(a: &[f32], b: &[f32]) -> f32)
}

#[inline(always)]
fn dot_body<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = s.splat(0.0);
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        sum = s.fma(s.load_partial(a, 0.0), s.load_partial(b, 0.0), sum);
    }
    s.sum(sum)
}
