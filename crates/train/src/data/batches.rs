//! The batches of an epoch, in an order that (seed, epoch) fixes, from any batch on: a run that is resumed sees the
//! very data that it would have seen.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::{DataError, Result};
use super::pack::{Packed, Window, order, padded};
use super::token_set::TokenSet;

/// How documents lie in windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Concatenated and cut: every window has L tokens.
    Packed,
    /// One document a window, padded to the longest of its batch, truncated to L tokens.
    Padded,
}

/// How an epoch is cut into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchesConfig {
    pub layout: Layout,
    /// L: tokens of a window (at most, where it is padded).
    pub length: usize,
    /// B: windows of a batch.
    pub batch: usize,
    pub seed: u64,
    /// Whether a last batch of fewer windows is given too: for measuring yes, for training no.
    pub keep_last: bool,
}

impl Default for BatchesConfig {
    fn default() -> Self {
        Self { layout: Layout::Packed, length: 128, batch: 64, seed: 0, keep_last: false }
    }
}

/// B windows of equal length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its place in the epoch.
    pub index: usize,
    pub windows: Vec<Window>,
}

/// The batches of one epoch.
#[derive(Clone, Debug)]
pub struct Batches {
    rows: Rows,
    config: BatchesConfig,
    next: usize,
    count: usize,
}

impl Batches {
    /// The batches of `epoch`; the same arguments give the same batches.
    pub fn new(set: Arc<TokenSet>, config: &BatchesConfig, epoch: u64) -> Result<Self> {
        let count = Self::count(&set, config)?;
        let rows = match config.layout {
            Layout::Packed => Rows::Packed(Box::new(Packed::new(set, config.length, config.seed, epoch))),
            Layout::Padded => {
                let order = order(set.documents().len(), config.seed, epoch);
                Rows::Padded { set, order, next: 0 }
            }
        };
        Ok(Self { rows, config: *config, next: 0, count })
    }

    /// How many batches an epoch has; the same for every epoch. An error where it is none.
    pub fn count(set: &TokenSet, config: &BatchesConfig) -> Result<usize> {
        for (what, least, found) in [("the windows' length", 2, config.length), ("the batch size", 1, config.batch)] {
            if found < least {
                return Err(DataError::TooSmall { what, least, found });
            }
        }
        let windows = match config.layout {
            Layout::Packed => Packed::windows(set, config.length),
            Layout::Padded => set.documents().len(),
        };
        let least = if config.keep_last { 1 } else { config.batch };
        if windows < least {
            return Err(DataError::TooSmall { what: "the number of windows (for one batch)", least, found: windows });
        }
        Ok(if config.keep_last { windows.div_ceil(config.batch) } else { windows / config.batch })
    }

    /// Goes on from batch number `index` of the epoch, whatever was given so far must come before it.
    pub fn starting_at(mut self, index: usize) -> Self {
        let skipped = index.saturating_sub(self.next) * self.config.batch;
        match &mut self.rows {
            Rows::Packed(windows) => windows.by_ref().take(skipped).for_each(drop),
            Rows::Padded { order, next, .. } => *next = (*next + skipped).min(order.len()),
        }
        self.next = self.next.max(index);
        self
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.next >= self.count {
            return None;
        }
        let windows: Vec<Window> = match &mut self.rows {
            Rows::Packed(windows) => windows.by_ref().take(self.config.batch).collect(),
            Rows::Padded { set, order, next } => {
                let end = (*next + self.config.batch).min(order.len());
                let documents = order[*next..end].iter().map(|document| &set.documents()[*document]);
                *next = end;
                padded(set, documents, self.config.length)
            }
        };
        self.next += 1;
        Some(Batch { index: self.next - 1, windows })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count.saturating_sub(self.next);
        (left, Some(left))
    }
}

impl Batch {
    /// B: the number of windows.
    pub fn rows(&self) -> usize {
        self.windows.len()
    }

    /// The tokens of each window.
    pub fn length(&self) -> usize {
        self.windows.first().map_or(0, |window| window.tokens.len())
    }

    /// The tokens, window after window (B x L).
    pub fn tokens(&self) -> Vec<u32> {
        self.windows.iter().flat_map(|window| window.tokens.iter().copied()).collect()
    }

    /// Whether each token is scored (B x L).
    pub fn scored(&self) -> Vec<bool> {
        self.windows.iter().flat_map(|window| window.scored.iter().copied()).collect()
    }

    /// How many tokens are scored.
    pub fn scored_tokens(&self) -> usize {
        self.windows.iter().flat_map(|window| &window.scored).filter(|scored| **scored).count()
    }

    /// The UTF-8 bytes of text that the scored tokens stand for.
    pub fn scored_bytes(&self) -> usize {
        self.windows.iter().map(|window| window.scored_bytes).sum()
    }
}

#[derive(Clone, Debug)]
enum Rows {
    Packed(Box<Packed>),
    Padded { set: Arc<TokenSet>, order: Vec<usize>, next: usize },
}

#[cfg(test)]
mod tests {
    use super::super::token_set::TokenDocument;
    use super::*;

    fn set() -> Arc<TokenSet> {
        let documents = (0..101u32)
            .map(|i| TokenDocument { tokens: vec![3 + i; 2 + (i as usize * 7) % 13], prompt: (i % 3) as usize });
        Arc::new(TokenSet::new(documents.collect(), vec![1; 200]))
    }

    #[test]
    fn a_resumed_epoch_gives_the_same_batches() {
        for layout in [Layout::Packed, Layout::Padded] {
            for keep_last in [false, true] {
                let config = BatchesConfig { layout, length: 16, batch: 4, seed: 5, keep_last };
                let all: Vec<Batch> = Batches::new(set(), &config, 3).unwrap().collect();
                assert_eq!(all.len(), Batches::count(&set(), &config).unwrap());
                assert!(all.iter().enumerate().all(|(place, batch)| batch.index == place));
                for start in [0, 1, 7, all.len(), all.len() + 3] {
                    let resumed: Vec<Batch> = Batches::new(set(), &config, 3).unwrap().starting_at(start).collect();
                    assert_eq!(resumed, all.get(start..).unwrap_or(&[]), "{layout:?} from {start}");
                }
                let other: Vec<Batch> = Batches::new(set(), &config, 4).unwrap().collect();
                assert!(other.len() == all.len() && other != all);
            }
        }
    }

    #[test]
    fn every_batch_is_a_rectangle_and_all_bytes_are_there() {
        for layout in [Layout::Packed, Layout::Padded] {
            let config = BatchesConfig { layout, length: 16, batch: 4, seed: 5, keep_last: true };
            let batches: Vec<Batch> = Batches::new(set(), &config, 0).unwrap().collect();
            for batch in &batches {
                assert_eq!(batch.tokens().len(), batch.rows() * batch.length());
                assert_eq!(batch.scored().iter().filter(|s| **s).count(), batch.scored_tokens());
            }
            assert_eq!(batches.iter().map(Batch::scored_bytes).sum::<usize>(), set().text_bytes());
        }
    }

    #[test]
    fn too_little_for_a_batch_is_an_error() {
        let config = BatchesConfig { batch: 1000, ..BatchesConfig::default() };
        assert!(Batches::new(set(), &config, 0).unwrap_err().to_string().contains("1000"));
        assert!(Batches::count(&set(), &BatchesConfig { length: 1, ..config }).is_err());
        assert_eq!(Batches::count(&set(), &BatchesConfig { keep_last: true, ..config }).unwrap(), 1);
    }
}
