//! What happens to the logits of a row on their way to a draw, and one row seen through it.
//!
//! The order is: soft cap, repetition penalty, bias and bans of single tokens, temperature, top-k, top-p. Single tokens
//! change in float64 and beside the lanes: a chunk that has some is copied with minus infinity in their places.

use super::lanes::VocabSimd;
use super::soft_cap::{soft_cap, soft_cap_slice};

/// What happens to the logits of every row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transform<'a> {
    /// Logits become `cap · tanh(logit / cap)`.
    pub soft_cap: Option<f32>,
    /// Logits of penalised tokens are divided by this where positive and multiplied where negative.
    pub penalty: f64,
    /// What happens to single tokens: in the order of their ids, each at most once. Those beyond V are not there.
    pub changes: &'a [Change],
    /// The temperature of the draw; 0 takes the most probable token.
    pub temperature: f64,
    /// The k most probable tokens are kept, of equals those of lower ids; 0 keeps all.
    pub top_k: usize,
    /// Of what top-k left, the smallest set of most probable tokens that holds this probability is kept; 1 keeps all.
    pub top_p: f64,
    /// Top-p leaves out the token with which the sum passes p, unless it is the first.
    pub before_crossing: bool,
    /// Statistics are those of the distribution that is drawn from (at temperature 0: at temperature 1, after top-k and
    /// top-p). Otherwise they are those at temperature 1 without top-k and top-p.
    pub drawn_statistics: bool,
}

/// What happens to one token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The token.
    pub token: u32,
    /// Whether its probability is zero.
    pub banned: bool,
    /// Whether the penalty falls on it.
    pub penalised: bool,
    /// What is added to its logit, after the penalty.
    pub bias: f32,
}

/// A token and its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The token.
    pub token: u32,
    /// Its logit, before the temperature.
    pub logit: f64,
}

/// Values that are worked on at a time: 8 KiB, so that they stay in the first cache.
pub(super) const CHUNK: usize = 2048;
/// The length of a chunk is a multiple of this.
pub(super) const BLOCK: usize = 64;

/// Room for a chunk.
#[repr(align(64))]
pub(super) struct Buffer(pub(super) [f32; CHUNK]);

/// V logits seen through a transform.
pub(super) struct Row<'a> {
    logits: &'a [f32],
    transform: &'a Transform<'a>,
    changes: &'a [Change],
    /// The changed tokens that have some probability. No chunk holds them.
    pub(super) changed: Vec<Ranked>,
}

impl Transform<'static> {
    /// Nothing happens to the logits.
    pub const PLAIN: Self = Self {
        soft_cap: None,
        penalty: 1.0,
        changes: &[],
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        before_crossing: false,
        drawn_statistics: false,
    };
}

impl Transform<'_> {
    /// The temperature of the statistics.
    pub(super) fn heat(&self) -> f64 {
        if self.drawn_statistics { self.filter_temperature() } else { 1.0 }
    }

    /// The temperature at which top-p measures.
    pub(super) fn filter_temperature(&self) -> f64 {
        if self.temperature > 0.0 { self.temperature } else { 1.0 }
    }

    pub(super) fn check(&self) {
        assert!(
            self.soft_cap.is_none_or(|cap| cap > 0.0 && cap.is_finite()),
            "vocab: the cap must be a positive number"
        );
        assert!(
            self.changes.is_sorted_by(|a, b| a.token < b.token),
            "vocab: changes must be in order, each token once"
        );
        let lowest = 1e-30;
        let temperature = self.temperature;
        assert!(
            temperature == 0.0 || (temperature >= lowest && temperature.is_finite()),
            "vocab: the temperature must be 0 or a number of at least {lowest}"
        );
        assert!(self.penalty > 0.0 && self.penalty.is_finite(), "vocab: the penalty must be a positive number");
        assert!(self.top_p > 0.0 && self.top_p <= 1.0, "vocab: top_p must lie above 0 and be at most 1");
    }
}

impl Change {
    fn apply(&self, logit: f32, penalty: f64) -> f64 {
        let logit = f64::from(logit);
        if self.banned {
            return f64::NEG_INFINITY;
        }
        let logit = match self.penalised {
            true if logit > 0.0 => logit / penalty,
            true => logit * penalty,
            false => logit,
        };
        logit + f64::from(self.bias)
    }
}

impl Ranked {
    /// What has no probability.
    pub(super) const NOTHING: Self = Self { token: 0, logit: f64::NEG_INFINITY };

    /// The more probable token comes first, of equals the one of lower id.
    pub(super) fn order(a: &Self, b: &Self) -> std::cmp::Ordering {
        if a.before(b) {
            std::cmp::Ordering::Less
        } else if b.before(a) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    }

    pub(super) fn before(&self, other: &Self) -> bool {
        self.logit > other.logit || (self.logit == other.logit && self.token < other.token)
    }
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self([f32::NEG_INFINITY; CHUNK])
    }
}

impl<'a> Row<'a> {
    pub(super) fn new(logits: &'a [f32], transform: &'a Transform<'a>) -> Self {
        let changes = &transform.changes[..transform.changes.partition_point(|c| (c.token as usize) < logits.len())];
        let mut row = Self { logits, transform, changes, changed: Vec::new() };
        let kept = changes.iter().filter(|change| !change.banned);
        let kept = kept.map(|change| Ranked { token: change.token, logit: row.changed_logit(change) });
        row.changed = kept.filter(|ranked| ranked.logit > f64::NEG_INFINITY).collect();
        row
    }

    pub(super) fn transform(&self) -> &'a Transform<'a> {
        self.transform
    }

    pub(super) fn vocabulary(&self) -> usize {
        self.logits.len()
    }

    pub(super) fn chunks(&self) -> usize {
        self.logits.len().div_ceil(CHUNK)
    }

    /// The logit of a token below V.
    pub(super) fn logit(&self, token: u32) -> f64 {
        match self.changes.binary_search_by_key(&token, |change| change.token) {
            Ok(at) => self.changed_logit(&self.changes[at]),
            Err(_) => f64::from(self.capped(token)),
        }
    }

    /// The capped logits of a chunk without its changed tokens, and minus infinity up to a whole number of blocks.
    #[inline(always)]
    pub(super) fn chunk<'b, S: VocabSimd>(&'b self, s: S, index: usize, buffer: &'b mut Buffer) -> &'b [f32] {
        let start = index * CHUNK;
        let raw = &self.logits[start..self.logits.len().min(start + CHUNK)];
        let changes = self.changes_between(start, start + raw.len());
        if self.transform.soft_cap.is_none() && changes.is_empty() && raw.len().is_multiple_of(BLOCK) {
            return raw;
        }
        let (values, padding) = buffer.0[..raw.len().next_multiple_of(BLOCK)].split_at_mut(raw.len());
        values.copy_from_slice(raw);
        padding.fill(f32::NEG_INFINITY);
        if let Some(cap) = self.transform.soft_cap {
            soft_cap_slice(s, values, cap);
        }
        for change in changes {
            values[change.token as usize - start] = f32::NEG_INFINITY;
        }
        let length = values.len() + padding.len();
        &buffer.0[..length]
    }

    /// Where the values of a chunk lie; beyond the row for a chunk that is not there.
    #[inline(always)]
    pub(super) fn place(&self, index: usize) -> *const f32 {
        self.logits.as_ptr().wrapping_add(index * CHUNK)
    }

    fn changes_between(&self, start: usize, end: usize) -> &[Change] {
        if self.changes.is_empty() {
            return &[];
        }
        let below = |limit: usize| self.changes.partition_point(|change| (change.token as usize) < limit);
        &self.changes[below(start)..below(end)]
    }

    fn changed_logit(&self, change: &Change) -> f64 {
        change.apply(self.capped(change.token), self.transform.penalty)
    }

    fn capped(&self, token: u32) -> f32 {
        let logit = self.logits[token as usize];
        self.transform.soft_cap.map_or(logit, |cap| soft_cap(logit, cap))
    }
}
