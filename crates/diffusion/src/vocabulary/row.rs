//! A row of logits as the transform shows it: after repetition penalty, biases and bans.

use crate::contract::LogitTransform;

/// A row of V logits seen through a transform.
pub(super) struct Row<'a> {
    logits: &'a [f32],
    /// What happens to single tokens; empty where nothing does.
    changes: Vec<Change>,
    penalty: f64,
}

#[derive(Clone, Copy, Default)]
struct Change {
    banned: bool,
    seen: bool,
    bias: f32,
}

impl<'a> Row<'a> {
    pub(super) fn new(logits: &'a [f32], transform: &LogitTransform) -> Self {
        let penalty = transform.repetition_penalty;
        let seen: &[_] = if penalty == 1.0 { &[] } else { &transform.seen };
        let mut changes = Vec::new();
        if !(transform.banned.is_empty() && transform.bias.is_empty() && seen.is_empty()) {
            changes = vec![Change::default(); logits.len()];
            let mut change = |token: u32, with: &dyn Fn(&mut Change)| {
                if let Some(change) = changes.get_mut(token as usize) {
                    with(change);
                }
            };
            transform.banned.iter().for_each(|token| change(*token, &|change| change.banned = true));
            seen.iter().for_each(|token| change(*token, &|change| change.seen = true));
            transform.bias.iter().for_each(|(token, bias)| change(*token, &|change| change.bias += bias));
        }
        Self { logits, changes, penalty }
    }

    pub(super) fn logit(&self, token: usize) -> f64 {
        let logit = f64::from(self.logits[token]);
        let Some(change) = self.changes.get(token) else { return logit };
        if change.banned {
            return f64::NEG_INFINITY;
        }
        let logit = match change.seen {
            true if logit > 0.0 => logit / self.penalty,
            true => logit * self.penalty,
            false => logit,
        };
        logit + f64::from(change.bias)
    }

    /// All tokens with some probability, with their logits.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        (0..self.logits.len()).map(|token| (token, self.logit(token))).filter(|(_, logit)| *logit > f64::NEG_INFINITY)
    }
}
