//! The k most probable tokens of a row, without a sort of the vocabulary.
//!
//! The first walk left the maximum of every lane of every group. At least k values reach the k-th largest of them, so a
//! second walk, over the groups alone whose maximum reaches it, finds few tokens more than k. That k-th largest, and the k tokens
//! among those found, come of quickselect (Hoare 1961, algorithm 65, as the standard library has it). The method is ours.

use super::lanes::VocabSimd;
use super::transform::{Buffer, Ranked, Row};
use super::walk::{GROUP, MAXIMA};
use crate::simd::{LANES, dispatch};

/// The tokens that may be among the first k.
struct Candidates {
    k: usize,
    tokens: Vec<Ranked>,
    /// No value below it is among the first k.
    bound: f32,
}

/// The first k tokens in any order, fewer where fewer have some probability; `maxima` are those of the first walk.
pub(super) fn top(row: &Row<'_>, k: usize, maxima: &[f32]) -> Vec<Ranked> {
    let k = k.min(row.vocabulary());
    if k == 0 {
        return Vec::new();
    }
    let mut candidates = Candidates { k, tokens: row.changed.clone(), bound: bound(maxima, k) };
    collect(row, maxima, &mut candidates);
    candidates.prune();
    candidates.tokens
}

/// A value that at least k tokens reach; minus infinity where the maxima do not tell one.
fn bound(maxima: &[f32], k: usize) -> f32 {
    // Maxima of several lanes together are maxima too. Four times as many as k are enough to be near the value sought.
    let count = maxima.len().min((4 * k).next_multiple_of(MAXIMA));
    if count < k {
        return f32::NEG_INFINITY;
    }
    let mut joined = maxima[..count].to_vec();
    for more in maxima[count..].chunks(count) {
        for (joined, max) in joined.iter_mut().zip(more) {
            *joined = if *max > *joined { *max } else { *joined };
        }
    }
    *joined.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

fn collect(row: &Row<'_>, maxima: &[f32], candidates: &mut Candidates) {
    dispatch!(collect_body(row: &Row<'_>, maxima: &[f32], candidates: &mut Candidates))
}

#[inline(always)]
fn collect_body<S: VocabSimd>(s: S, row: &Row<'_>, maxima: &[f32], candidates: &mut Candidates) {
    let mut buffer = Buffer::new();
    for (index, maxima) in maxima.as_chunks::<MAXIMA>().0.iter().enumerate() {
        let reach = |maxima: &[f32], bound: f32| maxima.iter().any(|max| *max >= bound && *max > f32::NEG_INFINITY);
        if !reach(maxima, candidates.bound) {
            continue;
        }
        let values = row.chunk(s, index, &mut buffer);
        for (group, (values, maxima)) in values.chunks(GROUP).zip(maxima.chunks_exact(LANES)).enumerate() {
            if !reach(maxima, candidates.bound) {
                continue;
            }
            let first = (index * MAXIMA / LANES + group) * GROUP;
            for (at, lanes) in values.chunks_exact(LANES).enumerate() {
                // Above the number below the bound; the number below minus infinity is itself.
                let mask = s.less_mask(s.splat(candidates.bound.next_down()), s.load(lanes));
                if mask != 0 {
                    candidates.push(mask, lanes, first + at * LANES);
                }
            }
        }
    }
}

impl Candidates {
    /// The tokens of the lanes whose bits are set; the first lane is that of `first`.
    fn push(&mut self, mut mask: u32, lanes: &[f32], first: usize) {
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            self.tokens.push(Ranked { token: (first + at) as u32, logit: f64::from(lanes[at]) });
        }
        if self.tokens.len() > 2 * self.k + 1024 {
            self.prune();
        }
    }

    fn prune(&mut self) {
        if self.tokens.len() <= self.k {
            return;
        }
        let last = *self.tokens.select_nth_unstable_by(self.k - 1, Ranked::order).1;
        self.tokens.truncate(self.k);
        // Of equals to the last, those of higher ids are no longer wanted, but a changed token's logit need not be an f32.
        self.bound = self.bound.max((last.logit as f32).next_down());
    }
}
