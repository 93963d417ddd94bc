//! Weighted cross-entropy over a vocabulary, forward and backward, with at most one banned column.
//!
//! `loss = Σ_i weight_i · (logsumexp_i - logit_i[target_i])`; the banned column (the mask token's, in the SUBS
//! parameterisation of masked diffusion: Sahoo et al. 2024, arXiv 2406.07524, section 3.2.3) has probability zero:
//! it is left out of the sum and its gradient is zero. Backward: `grad = upstream · weight_i · (softmax_i - onehot_i)`.
//! Shapes: logits `[N, V]`, targets, weights, row losses and row log-sum-exps `[N]`; for a model N = B·L. Rows of
//! weight zero are skipped, so cells that a diffusion loss does not count cost nothing.

use rayon::prelude::*;

use crate::exp::exp_lanes;
use crate::scalar::ln;
use crate::simd::{LANES, Simd, dispatch};

/// The rows of a cross-entropy: logits `[N, V]`, targets `[N]` below V, weights `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// `[N, V]`, row major.
    pub logits: &'a [f32],
    /// V, the number of columns.
    pub vocabulary: usize,
    /// `[N]`: the right column of each row, below V. Not read where the weight is zero.
    pub targets: &'a [u32],
    /// `[N]`: what each row counts for.
    pub weights: &'a [f32],
    /// A column whose probability is zero, such as the mask token's.
    pub banned: Option<usize>,
}

impl CrossEntropy<'_> {
    /// The weighted sum of the rows' losses, added in f64. `row_loss` `[N]` receives each row's `-ln p(target)`
    /// without its weight, `log_sum_exp` `[N]` what [`CrossEntropy::backward`] needs; both are 0 in rows of weight zero.
    /// A row whose target is banned has an infinite loss.
    pub fn forward(&self, row_loss: &mut [f32], log_sum_exp: &mut [f32]) -> f64 {
        self.check(row_loss.len(), log_sum_exp.len());
        row_loss
            .par_iter_mut()
            .zip(log_sum_exp.par_iter_mut())
            .with_min_len(self.rows_per_task())
            .enumerate()
            .for_each(|(row, (loss, lse))| (*loss, *lse) = self.row(row));
        self.weights
            .iter()
            .zip(&*row_loss)
            .filter(|(w, _)| **w != 0.0)
            .map(|(w, l)| f64::from(*w) * f64::from(*l))
            .sum()
    }

    /// The gradient `[N, V]` of `upstream · loss` to the logits, from the log-sum-exps `[N]` of the forward pass.
    /// It is written, not added to.
    pub fn backward(&self, log_sum_exp: &[f32], upstream: f32, grad_logits: &mut [f32]) {
        self.check(self.weights.len(), log_sum_exp.len());
        assert_eq!(grad_logits.len(), self.logits.len(), "cross_entropy: grad_logits must have the shape of logits");
        if self.logits.is_empty() {
            return;
        }
        grad_logits.par_chunks_mut(self.vocabulary).with_min_len(self.rows_per_task()).enumerate().for_each(
            |(row, grad)| {
                let factor = self.weights[row] * upstream;
                if self.weights[row] == 0.0 {
                    return grad.fill(0.0);
                }
                softmax_scaled(self.logits_of(row), log_sum_exp[row], factor, grad);
                let target = self.targets[row] as usize;
                grad[target] -= factor;
                if let Some(banned) = self.banned {
                    grad[banned] = 0.0;
                }
            },
        );
    }

    fn check(&self, first: usize, second: usize) {
        let rows = self.weights.len();
        assert!(
            self.targets.len() == rows && first == rows && second == rows,
            "cross_entropy: targets, weights, losses and log-sum-exps must have one length"
        );
        assert_eq!(self.logits.len(), rows * self.vocabulary, "cross_entropy: logits are not [N, V]");
        assert!(self.banned.is_none_or(|b| b < self.vocabulary), "cross_entropy: the banned column is beyond V");
        assert!(
            self.targets.iter().zip(self.weights).all(|(t, w)| *w == 0.0 || (*t as usize) < self.vocabulary),
            "cross_entropy: a target is beyond V"
        );
    }

    fn rows_per_task(&self) -> usize {
        (VALUES_PER_TASK / self.vocabulary.max(1)).max(1)
    }

    fn logits_of(&self, row: usize) -> &[f32] {
        &self.logits[row * self.vocabulary..(row + 1) * self.vocabulary]
    }

    /// The loss and the log-sum-exp of one row.
    fn row(&self, row: usize) -> (f32, f32) {
        if self.weights[row] == 0.0 {
            return (0.0, 0.0);
        }
        let logits = self.logits_of(row);
        let target = self.targets[row] as usize;
        let (before, after) = match self.banned {
            Some(banned) => (&logits[..banned], &logits[banned + 1..]),
            None => (logits, &logits[..0]),
        };
        let (largest, sum) = largest_and_sum(before, after);
        let log_sum = ln(f64::from(sum));
        let lse = f64::from(largest) + log_sum;
        if self.banned == Some(target) {
            return (f32::INFINITY, lse as f32);
        }
        ((f64::from(largest) - f64::from(logits[target]) + log_sum) as f32, lse as f32)
    }
}

/// Loss and gradient at once, where the logits are not needed any more: the logits `[N, V]` become the gradient of the weighted
/// sum of the rows' losses, and `row_loss` `[N]` receives what [`CrossEntropy::forward`] gives, bit for bit. One exponential per
/// logit, and no second matrix.
pub fn cross_entropy_in_place(
    logits: &mut [f32],
    vocabulary: usize,
    targets: &[u32],
    weights: &[f32],
    banned: Option<usize>,
    row_loss: &mut [f32],
) {
    CrossEntropy { logits, vocabulary, targets, weights, banned }.check(row_loss.len(), row_loss.len());
    if logits.is_empty() {
        return;
    }
    let rows = (VALUES_PER_TASK / vocabulary).max(1);
    logits.par_chunks_mut(vocabulary).zip(row_loss).with_min_len(rows).enumerate().for_each(|(row, (logits, loss))| {
        *loss = turn_row(logits, targets[row] as usize, weights[row], banned);
    });
}

/// Logits per parallel task, about.
const VALUES_PER_TASK: usize = 1 << 14;

/// The largest value m of both slices and the sum of `exp(x - m)`.
fn largest_and_sum(before: &[f32], after: &[f32]) -> (f32, f32) {
    dispatch!(largest_and_sum_body(before: &[f32], after: &[f32]) -> (f32, f32))
}

#[inline(always)]
fn largest_and_sum_body<S: Simd>(s: S, before: &[f32], after: &[f32]) -> (f32, f32) {
    let largest = largest_body(s, before, after);
    // With no finite logit at all every difference would be NaN; exp(-inf) = 0 is what is meant.
    let shift = s.splat(if largest == f32::NEG_INFINITY { 0.0 } else { largest });
    let mut sum = [s.splat(0.0); 2];
    for part in [before, after] {
        for (i, lanes) in part.chunks(LANES).enumerate() {
            let x = s.load_partial(lanes, f32::NEG_INFINITY);
            sum[i % 2] = s.add(sum[i % 2], exp_lanes(s, s.sub(x, shift)));
        }
    }
    (largest, s.sum(s.add(sum[0], sum[1])))
}

#[inline(always)]
fn largest_body<S: Simd>(s: S, before: &[f32], after: &[f32]) -> f32 {
    let mut largest = [s.splat(f32::NEG_INFINITY); 2];
    for part in [before, after] {
        for (i, lanes) in part.chunks(LANES).enumerate() {
            largest[i % 2] = s.max(s.load_partial(lanes, f32::NEG_INFINITY), largest[i % 2]);
        }
    }
    s.max_lane(s.max(largest[0], largest[1]))
}

/// Turns a row of logits into its gradient; returns its loss.
fn turn_row(logits: &mut [f32], target: usize, weight: f32, banned: Option<usize>) -> f32 {
    if weight == 0.0 {
        logits.fill(0.0);
        return 0.0;
    }
    let right = logits[target];
    let (largest, sum) = match banned {
        Some(banned) => {
            let (before, after) = logits.split_at_mut(banned);
            exponentials(before, &mut after[1..])
        }
        None => exponentials(logits, &mut []),
    };
    scale(logits, weight / sum);
    logits[target] -= weight;
    if let Some(banned) = banned {
        logits[banned] = 0.0;
        if banned == target {
            return f32::INFINITY;
        }
    }
    (f64::from(largest) - f64::from(right) + ln(f64::from(sum))) as f32
}

/// As [`largest_and_sum`], and every value becomes its `exp(x - m)`.
fn exponentials(before: &mut [f32], after: &mut [f32]) -> (f32, f32) {
    dispatch!(exponentials_body(before: &mut [f32], after: &mut [f32]) -> (f32, f32))
}

#[inline(always)]
fn exponentials_body<S: Simd>(s: S, before: &mut [f32], after: &mut [f32]) -> (f32, f32) {
    let largest = largest_body(s, before, after);
    let shift = s.splat(if largest == f32::NEG_INFINITY { 0.0 } else { largest });
    let mut sum = [s.splat(0.0); 2];
    for part in [before, after] {
        for (i, lanes) in part.chunks_mut(LANES).enumerate() {
            let e = exp_lanes(s, s.sub(s.load_partial(lanes, f32::NEG_INFINITY), shift));
            sum[i % 2] = s.add(sum[i % 2], e);
            s.store_partial(e, lanes);
        }
    }
    (largest, s.sum(s.add(sum[0], sum[1])))
}

fn scale(x: &mut [f32], factor: f32) {
    dispatch!(scale_body(x: &mut [f32], factor: f32))
}

#[inline(always)]
fn scale_body<S: Simd>(s: S, x: &mut [f32], factor: f32) {
    let factor = s.splat(factor);
    for lanes in x.chunks_mut(LANES) {
        s.store_partial(s.mul(s.load_partial(lanes, 0.0), factor), lanes);
    }
}

/// `out = factor · exp(logits - log_sum_exp)`.
fn softmax_scaled(logits: &[f32], log_sum_exp: f32, factor: f32, out: &mut [f32]) {
    dispatch!(softmax_scaled_body(logits: &[f32], log_sum_exp: f32, factor: f32, out: &mut [f32]))
}

#[inline(always)]
fn softmax_scaled_body<S: Simd>(s: S, logits: &[f32], log_sum_exp: f32, factor: f32, out: &mut [f32]) {
    let (shift, factor) = (s.splat(log_sum_exp), s.splat(factor));
    for (x, out) in logits.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let p = exp_lanes(s, s.sub(s.load_partial(x, f32::NEG_INFINITY), shift));
        s.store_partial(s.mul(p, factor), out);
    }
}

#[cfg(test)]
mod tests;
