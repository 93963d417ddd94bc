//! Documents into windows of L tokens: concatenated and cut (packed), or one a row and padded.
//!
//! Packed windows are full, so that no position is wasted. A window begins with the document that waits longest; one or
//! two of the [`LOOK_AHEAD`] documents that wait are taken early where they fill it to the very end, so that the next
//! window begins with a document again. Where none do, documents follow in order, and at the window's end the first
//! that fits. What must be cut is continued at the start of the next window: a document without a prompt that is longer
//! than half a window, or any that is longer than a window, or, where nothing fits, the first one without a prompt that
//! waits, for a text that is cut off from its prompt teaches little.

use std::collections::VecDeque;
use std::sync::Arc;

use super::splitmix::SplitMix;
use super::token_set::{TokenDocument, TokenSet};
use super::tokenizer::PAD;

/// How many documents may be looked at to fill a window's end.
pub const LOOK_AHEAD: usize = 64;

/// How often a document with a prompt may wait while another is cut, before it is cut itself.
const PATIENCE: usize = 2;

/// One row of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub tokens: Vec<u32>,
    /// For each token whether the model is scored on it: not on prompts, not on padding.
    pub scored: Vec<bool>,
    /// The UTF-8 bytes of text that the scored tokens stand for (`<end>`: 0).
    pub scored_bytes: usize,
    /// Where documents begin. Where the first is not 0, the window begins with the rest of a document that was cut.
    pub starts: Vec<usize>,
}

/// The order of the documents in an epoch.
pub fn order(documents: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..documents).collect();
    SplitMix::new(seed, epoch).shuffle(&mut order);
    order
}

/// The windows of one epoch, each of exactly `length` tokens; the last one is padded. Their number, the sum of their
/// scored bytes and every document's tokens are the same in every epoch.
#[derive(Clone, Debug)]
pub struct Packed {
    set: Arc<TokenSet>,
    length: usize,
    order: std::vec::IntoIter<usize>,
    /// The documents that wait, in order.
    waiting: VecDeque<usize>,
    /// How often another was cut while the first of them waited.
    passed: usize,
    /// A document that was cut, and how many of its tokens are placed.
    cut: Option<(usize, usize)>,
}

impl Packed {
    /// Packs `set` into windows of `length` >= 1 tokens; the result is a function of the arguments.
    pub fn new(set: Arc<TokenSet>, length: usize, seed: u64, epoch: u64) -> Self {
        let order = order(set.documents().len(), seed, epoch).into_iter();
        Self { set, length, order, waiting: VecDeque::with_capacity(LOOK_AHEAD), passed: 0, cut: None }
    }

    /// How many windows an epoch has.
    pub fn windows(set: &TokenSet, length: usize) -> usize {
        set.tokens().div_ceil(length)
    }

    /// Takes the document for a window with room for `rest` tokens, and says how many of its tokens are placed already.
    fn take(&mut self, rest: usize) -> Option<(usize, usize)> {
        if let Some(cut) = self.cut.take() {
            return Some(cut);
        }
        let missing = LOOK_AHEAD - self.waiting.len();
        self.waiting.extend(self.order.by_ref().take(missing));
        let place = self.choose(rest)?;
        if place == 0 {
            self.passed = 0;
        }
        self.waiting.remove(place).map(|document| (document, 0))
    }

    /// The place in the queue of the document to take.
    fn choose(&mut self, rest: usize) -> Option<usize> {
        let documents = self.set.documents();
        let first = &documents[*self.waiting.front()?];
        if rest == self.length {
            return Some(0);
        }
        let lengths: Vec<usize> = self.waiting.iter().map(|document| documents[*document].tokens.len()).collect();
        if let Some(exact) = exact_fit(&lengths, rest) {
            return Some(exact);
        }
        let long = lengths[0] > self.length || (first.prompt == 0 && lengths[0] > self.length / 2);
        if lengths[0] <= rest || long {
            return Some(0);
        }
        if let Some(fits) = lengths.iter().position(|length| *length <= rest) {
            return Some(fits);
        }
        if self.passed >= PATIENCE {
            return Some(0);
        }
        self.passed += 1;
        let without_prompt = self.waiting.iter().position(|document| documents[*document].prompt == 0);
        Some(without_prompt.unwrap_or(0))
    }
}

/// The first place whose length, alone or with that of a later place, is just `rest`.
fn exact_fit(lengths: &[usize], rest: usize) -> Option<usize> {
    let longest = lengths.iter().max().copied().unwrap_or(0);
    if rest > 2 * longest {
        return None;
    }
    let alone = lengths.iter().position(|length| *length == rest);
    alone.or_else(|| (0..lengths.len()).find(|i| lengths[i + 1..].iter().any(|length| lengths[*i] + length == rest)))
}

impl Iterator for Packed {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let mut window = Window::default();
        while window.tokens.len() < self.length {
            let rest = self.length - window.tokens.len();
            let Some((document, from)) = self.take(rest) else { break };
            let to = window.append(&self.set, &self.set.documents()[document], from, rest);
            if to < self.set.documents()[document].tokens.len() {
                self.cut = Some((document, to));
            }
        }
        if window.tokens.is_empty() {
            return None;
        }
        window.pad(self.length);
        Some(window)
    }
}

/// One document a row, truncated to `length` tokens and padded to the longest of these rows.
pub fn padded<'a>(set: &TokenSet, documents: impl Iterator<Item = &'a TokenDocument>, length: usize) -> Vec<Window> {
    let mut windows: Vec<Window> = documents
        .map(|document| {
            let mut window = Window::default();
            window.append(set, document, 0, length);
            window
        })
        .collect();
    let longest = windows.iter().map(|window| window.tokens.len()).max().unwrap_or(0);
    windows.iter_mut().for_each(|window| window.pad(longest));
    windows
}

impl Window {
    /// Appends at most `most` tokens of the document from `from` on; returns where it stopped.
    fn append(&mut self, set: &TokenSet, document: &TokenDocument, from: usize, most: usize) -> usize {
        let to = document.tokens.len().min(from + most);
        if from == 0 {
            self.starts.push(self.tokens.len());
        }
        self.tokens.extend_from_slice(&document.tokens[from..to]);
        self.scored.extend((from..to).map(|place| place >= document.prompt));
        self.scored_bytes += set.bytes(&document.tokens[document.prompt.clamp(from, to)..to]);
        to
    }

    fn pad(&mut self, length: usize) {
        self.tokens.resize(length, PAD);
        self.scored.resize(length, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::END;
    use super::*;

    /// Documents whose tokens name them: 10, 20, ...; every token stands for 2 bytes.
    fn set(lengths: &[(usize, usize)]) -> Arc<TokenSet> {
        let documents = lengths.iter().enumerate().map(|(i, (prompt, text))| {
            let mut tokens = vec![10 + i as u32; prompt + text];
            tokens.push(END);
            TokenDocument { tokens, prompt: *prompt }
        });
        let mut byte_lengths = vec![2; 10 + lengths.len()];
        byte_lengths[..3].fill(0);
        Arc::new(TokenSet::new(documents.collect(), byte_lengths))
    }

    fn mixed(count: usize, prompts: bool) -> Arc<TokenSet> {
        let mut random = SplitMix::new(9, 9);
        let lengths: Vec<_> = (0..count)
            .map(|i| (if prompts && i % 3 == 0 { 1 + random.below(9) } else { 0 }, 1 + random.below(20)))
            .collect();
        set(&lengths)
    }

    #[test]
    fn nothing_is_lost_and_all_windows_are_full() {
        let mut with_long: Vec<_> = (0..50).map(|i| (i % 4, 3 + i % 11)).collect();
        with_long.extend([(0, 100), (70, 5), (0, 33)]);
        for set in [mixed(500, true), mixed(500, false), set(&with_long), set(&[(0, 1)])] {
            for length in [2, 7, 32, 1000] {
                let windows: Vec<Window> = Packed::new(set.clone(), length, 1, 0).collect();
                assert_eq!(windows.len(), Packed::windows(&set, length));
                assert!(windows.iter().all(|w| w.tokens.len() == length && w.scored.len() == length));
                assert_eq!(windows.iter().map(|w| w.scored_bytes).sum::<usize>(), set.text_bytes());
                let scored = windows.iter().flat_map(|w| &w.scored).filter(|scored| **scored).count();
                assert_eq!(scored, set.scored_tokens());
                assert_eq!(windows.iter().map(|w| w.starts.len()).sum::<usize>(), set.documents().len());
                // End to end the windows are the documents in some order, then padding.
                let all: Vec<u32> = windows.iter().flat_map(|w| w.tokens.clone()).filter(|t| *t != PAD).collect();
                let mut found: Vec<Vec<u32>> = all.split_inclusive(|t| *t == END).map(<[u32]>::to_vec).collect();
                let mut expected: Vec<Vec<u32>> = set.documents().iter().map(|d| d.tokens.clone()).collect();
                found.sort();
                expected.sort();
                assert!(found == expected, "length {length}");
            }
        }
    }

    #[test]
    fn an_epoch_is_a_function_of_seed_and_epoch() {
        let set = mixed(300, true);
        let windows = |seed, epoch| Packed::new(set.clone(), 32, seed, epoch).collect::<Vec<_>>();
        assert_eq!(windows(1, 2), windows(1, 2));
        assert_ne!(windows(1, 2), windows(1, 3));
        assert_ne!(windows(1, 2), windows(2, 2));
    }

    #[test]
    fn short_documents_fill_the_ends_and_prompts_stay_with_their_texts() {
        let set = mixed(2000, true);
        let windows: Vec<Window> = Packed::new(set.clone(), 64, 0, 0).collect();
        let cut = windows.iter().filter(|w| w.starts.first() != Some(&0)).count();
        assert!(cut * 20 < windows.len(), "{cut} of {} windows begin with a rest", windows.len());
        // A prompt is separated where a window begins with the rest of a document that has one.
        let separated =
            windows.iter().filter(|w| w.starts.first() != Some(&0) && (w.tokens[0] - 10) % 3 == 0 && w.tokens[0] >= 10);
        assert!(separated.count() * 100 < windows.len());
    }

    #[test]
    fn a_document_that_does_not_fit_waits_for_the_next_window() {
        // Whatever the order: 6 + 4 or 4 + 6 fill the window, and the third waits for the second window.
        let set = set(&[(0, 3), (2, 3), (2, 3)]);
        for epoch in 0..6 {
            let windows: Vec<Window> = Packed::new(set.clone(), 10, 0, epoch).collect();
            assert_eq!(windows.len(), 2);
            assert_eq!((windows[0].starts.len(), windows[1].starts.len()), (2, 1), "{windows:?}");
        }
    }

    #[test]
    fn padded_rows() {
        let set = set(&[(1, 2), (0, 6), (3, 0)]);
        let windows = padded(&set, set.documents().iter(), 5);
        assert_eq!(windows[0].tokens, [10, 10, 10, END, PAD]);
        assert_eq!(windows[0].scored, [false, true, true, true, false]);
        assert_eq!((windows[0].scored_bytes, windows[1].scored_bytes, windows[2].scored_bytes), (4, 10, 0));
        assert_eq!(windows[1].tokens, [11; 5]);
        assert_eq!(windows[2].scored, [false, false, false, true, false]);
        assert_eq!(padded(&set, set.documents()[..1].iter(), 9)[0].tokens.len(), 4);
    }
}
