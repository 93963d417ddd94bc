//! Top-k and exact top-p: which tokens of a row may be drawn.
//!
//! The tokens are never sorted as a whole: the most probable few are selected, then sorted, and four times as many if their
//! probability falls short. Among equal logits the lower id comes first.

use super::row::Row;
use crate::contract::{Compat, LogitTransform};

/// The tokens before it (by logit, then by id), itself included, are kept.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    logit: f64,
    token: usize,
}

impl Cut {
    /// Where the row is cut; `best` is its largest logit. None where everything is kept.
    pub(super) fn new(row: &Row<'_>, best: f64, transform: &LogitTransform) -> Option<Self> {
        let LogitTransform { temperature, top_k, top_p, compat, .. } = *transform;
        if top_k == 0 && top_p >= 1.0 {
            return None;
        }
        let temperature = if temperature > 0.0 { temperature } else { 1.0 };
        let mut tokens: Vec<_> = row.iter().map(|(token, logit)| Self { logit, token }).collect();
        if top_k > 0 && top_k < tokens.len() {
            tokens.select_nth_unstable_by(top_k - 1, Self::order);
            tokens.truncate(top_k);
        }
        if top_p >= 1.0 {
            return tokens.into_iter().max_by(Self::order);
        }
        let weight = |token: &Self| ((token.logit - best) / temperature).exp();
        let wanted = top_p * tokens.iter().map(weight).sum::<f64>();
        let (mut sorted, mut sum) = (0, 0.0);
        let mut size = 64;
        while sorted < tokens.len() {
            let end = size.min(tokens.len());
            if end < tokens.len() {
                tokens[sorted..].select_nth_unstable_by(end - 1 - sorted, Self::order);
            }
            tokens[sorted..end].sort_unstable_by(Self::order);
            for at in sorted..end {
                sum += weight(&tokens[at]);
                // MDLM, BD3-LM and ReMDM leave out the token with which the sum passes p.
                if compat == Compat::Reference && sum > wanted {
                    return Some(tokens[at.saturating_sub(1)]);
                }
                if compat == Compat::Exact && sum >= wanted {
                    return Some(tokens[at]);
                }
            }
            sorted = end;
            size *= 4;
        }
        tokens.last().copied()
    }

    pub(super) fn keeps(&self, token: usize, logit: f64) -> bool {
        logit > self.logit || (logit == self.logit && token <= self.token)
    }

    /// More probable first.
    fn order(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32], transform: LogitTransform) -> Vec<usize> {
        let row = Row::new(logits, &transform);
        let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
        let cut = Cut::new(&row, best, &transform);
        row.iter().filter(|(token, logit)| cut.is_none_or(|cut| cut.keeps(*token, *logit))).map(|kept| kept.0).collect()
    }

    #[test]
    fn top_p_keeps_the_smallest_sufficient_set() {
        let logits: Vec<f32> = [0.1f32, 0.4, 0.2, 0.2, 0.1].iter().map(|p| p.ln()).collect();
        let top_p = |top_p, compat| kept(&logits, LogitTransform { top_p, compat, ..LogitTransform::default() });
        assert_eq!(top_p(0.3, Compat::Exact), [1]);
        assert_eq!(top_p(0.5, Compat::Exact), [1, 2]);
        assert_eq!(top_p(0.7, Compat::Exact), [1, 2, 3]);
        assert_eq!(top_p(0.95, Compat::Exact), [0, 1, 2, 3, 4]);
        assert_eq!(top_p(0.7, Compat::Reference), [1, 2]);
        assert_eq!(top_p(0.3, Compat::Reference), [1], "the first is always kept");
        let both = LogitTransform { top_k: 2, top_p: 0.6, ..LogitTransform::default() };
        assert_eq!(kept(&logits, both), [1], "two thirds of what top-k left is in the first");
    }

    /// Long rows are cut where a plain sort would cut them.
    #[test]
    fn a_long_row_is_cut_as_by_a_sort() {
        let logits: Vec<f32> = (0..5000u64).map(|v| (crate::rng::stream(9, v) % 1000) as f32 / 250.0).collect();
        for top_p in [0.02, 0.3, 0.9, 0.999] {
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
            let mut sum = 0.0;
            let short = order.iter().take_while(|v| {
                let before = sum;
                sum += f64::from(logits[**v]).exp() / total;
                before < top_p
            });
            let mut wanted: Vec<_> = short.copied().collect();
            wanted.sort_unstable();
            assert_eq!(kept(&logits, LogitTransform { top_p, ..LogitTransform::default() }), wanted, "{top_p}");
        }
    }

    #[test]
    fn top_k_breaks_ties_by_id() {
        let transform = LogitTransform { top_k: 2, ..LogitTransform::default() };
        assert_eq!(kept(&[1.0, 2.0, 1.0, 1.0], transform), [0, 1]);
    }
}
