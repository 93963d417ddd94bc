//! One order of the n-gram model: every context of one length with its successors, in sorted arrays.
//!
//! Contexts form a tree that is walked from the newest token to the oldest: the parent of a context is the context without
//! its oldest token. Contexts are sorted by (newest, ..., oldest), so the children of a context lie side by side in the next
//! level, and a look-up is one binary search among siblings and one among successors.

use std::ops::Range;

use super::discount::Discount;

/// The contexts of one length. `contexts + 1` offsets delimit `contexts` ranges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) discount: Discount,
    /// Per context its oldest token, ascending among siblings. The context of length 0 has none and holds 0.
    pub(super) oldest: Vec<u16>,
    /// Offsets of each context's children among the contexts of the next level. Empty on the last level.
    pub(super) children: Vec<u32>,
    /// Offsets of each context's successors in `tokens` and `counts`.
    pub(super) successors: Vec<u32>,
    /// Tokens seen after the context, ascending within a context.
    pub(super) tokens: Vec<u16>,
    /// Their adjusted counts, at least 1.
    pub(super) counts: Vec<u32>,
    /// Per context the sum of its counts.
    totals: Vec<u32>,
    /// Per context the mass that its shorter context gets, `(D1 N1 + D2 N2 + D3 N3+) / total`.
    backoff: Vec<f64>,
}

impl Level {
    /// Sums up the contexts. `successors` and `children` delimit ranges of `tokens` and of the next level.
    pub(super) fn new(
        discount: Discount,
        oldest: Vec<u16>,
        children: Vec<u32>,
        successors: Vec<u32>,
        tokens: Vec<u16>,
        counts: Vec<u32>,
    ) -> Self {
        let (totals, backoff) = (0..oldest.len())
            .map(|context| {
                let counts = &counts[range(&successors, context)];
                let total: u32 = counts.iter().sum();
                // Summed by class, so that the mass does not depend on the order of the successors.
                let mut seen = [0u32; 3];
                for &count in counts {
                    seen[count.clamp(1, 3) as usize - 1] += 1;
                }
                let taken: f64 = discount.values.iter().zip(seen).map(|(value, n)| value * f64::from(n)).sum();
                (total, taken / f64::from(total))
            })
            .unzip();
        Self { discount, oldest, children, successors, tokens, counts, totals, backoff }
    }

    /// `p_k(token | context) = max(c - D(c), 0) / total + backoff * p_{k-1}`, the latter given as `shorter`.
    pub(super) fn interpolate(&self, context: usize, token: u16, shorter: f64) -> f64 {
        let successors = range(&self.successors, context);
        let seen = match self.tokens[successors.clone()].binary_search(&token) {
            Ok(at) => {
                let count = self.counts[successors.start + at];
                (f64::from(count) - self.discount.of(count)) / f64::from(self.totals[context])
            }
            Err(_) => 0.0,
        };
        seen + self.backoff[context] * shorter
    }

    /// The same for the whole vocabulary at once: `row` holds `p_{k-1}` and is overwritten with `p_k`.
    pub(super) fn interpolate_row(&self, context: usize, row: &mut [f64]) {
        row.iter_mut().for_each(|p| *p *= self.backoff[context]);
        for at in range(&self.successors, context) {
            let count = self.counts[at];
            row[usize::from(self.tokens[at])] +=
                (f64::from(count) - self.discount.of(count)) / f64::from(self.totals[context]);
        }
    }

    /// The contexts of the next level that this context is the newer part of.
    pub(super) fn children_of(&self, context: usize) -> Range<usize> {
        range(&self.children, context)
    }

    /// The context among these siblings whose oldest token is this one.
    pub(super) fn find(&self, siblings: Range<usize>, oldest: u16) -> Option<usize> {
        let first = siblings.start;
        self.oldest[siblings].binary_search(&oldest).ok().map(|at| first + at)
    }
}

fn range(offsets: &[u32], at: usize) -> Range<usize> {
    offsets[at] as usize..offsets[at + 1] as usize
}
