//! Interpolated modified Kneser-Ney n-gram model over token ids.
//!
//! Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 3 (three discounts an
//! order); Kneser & Ney 1995 (continuation counts). Reference implementation: KenLM `lmplz` (Heafield et al. 2013).
//!
//! ```text
//! p_k(w | h) = max(a(hw) - D(a(hw)), 0) / sum_v a(hv)  +  g(h) p_{k-1}(w | h without its oldest token)
//! g(h)       = (D1 N1(h .) + D2 N2(h .) + D3 N3+(h .)) / sum_v a(hv)
//! p_0(w)     = 1 / V
//! ```
//!
//! `a` is the count on the highest order and for n-grams that begin with the text; elsewhere it is the number of distinct
//! tokens seen before the n-gram. `D` belongs to the order ([`Discount`]). A context that was never seen adds nothing:
//! `p_k = p_{k-1}`. Every token of the vocabulary has positive probability, and each context's probabilities sum to 1.
//!
//! Deviations from `lmplz`: no pruning, and no unknown token: the vocabulary is closed, `1 / V` reaches each of its tokens.

use super::discount::Discount;
use super::error::JudgeError;
use super::level::Level;
use super::score::Score;
use super::train;

/// The longest n-gram: one 128-bit key holds 8 tokens of 16 bits.
pub const MAX_ORDER: usize = 8;

/// The largest vocabulary: 16 bits hold its ids and the begin-of-text marker.
pub const MAX_VOCABULARY: usize = u16::MAX as usize;

/// An n-gram judge.
///
/// ```
/// use lldm::judge::KneserNey;
///
/// // Token 3 ends each text.
/// let judge = KneserNey::train(5, 4, [[0, 1, 0, 3], [0, 1, 2, 3]])?;
/// let score = judge.score(&[0, 1, 0, 3], &[false, true, true, true])?;
/// assert_eq!(score.tokens, 3);
/// assert!(judge.log_probability(&[0], 1) > judge.log_probability(&[0], 2));
/// # Ok::<(), lldm::judge::JudgeError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KneserNey {
    pub(super) vocabulary: usize,
    /// `levels[k]`: contexts of `k` tokens. Level 0 holds the one empty context.
    pub(super) levels: Vec<Level>,
}

impl KneserNey {
    /// The order that the literature uses, and what to take where nothing speaks against it.
    pub const DEFAULT_ORDER: usize = 5;

    /// Counts the sequences. Each is a whole document, prompt included, with its end token as its last; the context of its
    /// first token is the begin of a text.
    ///
    /// At order 5 it takes about 50 bytes of memory per training token while it counts, and keeps about half of that.
    ///
    /// # Errors
    /// An order outside `1..=`[`MAX_ORDER`], a vocabulary outside `1..=`[`MAX_VOCABULARY`], a token outside the vocabulary, a
    /// corpus without tokens or with more than 32 bits count.
    pub fn train<S: AsRef<[u32]>>(
        order: usize,
        vocabulary: usize,
        sequences: impl IntoIterator<Item = S>,
    ) -> Result<Self, JudgeError> {
        Ok(Self { vocabulary, levels: train::levels(order, vocabulary, sequences)? })
    }

    /// `ln p(token | context)` in nats. `context` holds the tokens before this one from the begin of the text; of a longer one
    /// the last `order - 1` tokens count, so they may be given alone, but a shorter one is the begin of a text.
    ///
    /// A token outside the vocabulary has probability 0: negative infinity. In the context it is a token never seen.
    pub fn log_probability(&self, context: &[u32], token: u32) -> f64 {
        match u16::try_from(token) {
            Ok(token) if usize::from(token) < self.vocabulary => self.probability(context, token).ln(),
            _ => f64::NEG_INFINITY,
        }
    }

    /// `p(. | context)` for the whole vocabulary, shape `[V]`; sums to 1. The context is that of
    /// [`KneserNey::log_probability`]. Drawing from it makes the n-gram sampler that generated text has to beat.
    pub fn probabilities(&self, context: &[u32]) -> Vec<f64> {
        let mut row = vec![1.0 / self.vocabulary as f64; self.vocabulary];
        self.walk(context, |level, node| level.interpolate_row(node, &mut row));
        row
    }

    /// Negative log-likelihood of the flagged tokens of one document, each given all tokens before it, flagged or not.
    ///
    /// # Errors
    /// One flag per token is needed, and every token, flagged or not, must be in the vocabulary.
    pub fn score(&self, tokens: &[u32], scored: &[bool]) -> Result<Score, JudgeError> {
        if tokens.len() != scored.len() {
            return Err(JudgeError::ScoredLength { tokens: tokens.len(), scored: scored.len() });
        }
        let outside = |&(_, &token): &(usize, &u32)| token as usize >= self.vocabulary;
        if let Some((position, &token)) = tokens.iter().enumerate().find(outside) {
            return Err(JudgeError::Token { token, position, vocabulary: self.vocabulary });
        }
        let flagged = (0..tokens.len()).filter(|&position| scored[position]);
        Ok(flagged.map(|at| Score { nats: -self.log_probability(&tokens[..at], tokens[at]), tokens: 1 }).sum())
    }

    /// Perplexity per flagged token over several documents, each `(tokens, scored)` as in [`KneserNey::score`]; `None` where
    /// no token is flagged.
    ///
    /// # Errors
    /// Those of [`KneserNey::score`].
    pub fn perplexity<'a>(
        &self,
        documents: impl IntoIterator<Item = (&'a [u32], &'a [bool])>,
    ) -> Result<Option<f64>, JudgeError> {
        let scores = documents.into_iter().map(|(tokens, scored)| self.score(tokens, scored));
        Ok(scores.sum::<Result<Score, _>>()?.perplexity())
    }

    /// Number of tokens in the longest n-gram.
    pub fn order(&self) -> usize {
        self.levels.len()
    }

    /// V: token ids are below it.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Number of distinct n-grams of each order, from 1 up.
    pub fn ngrams(&self) -> Vec<usize> {
        self.levels.iter().map(|level| level.tokens.len()).collect()
    }

    /// The discounts of each order, from 1 up, and whether the corpus was enough to estimate them.
    pub fn discounts(&self) -> Vec<Discount> {
        self.levels.iter().map(|level| level.discount).collect()
    }

    fn probability(&self, context: &[u32], token: u16) -> f64 {
        let mut p = 1.0 / self.vocabulary as f64;
        self.walk(context, |level, node| p = level.interpolate(node, token, p));
        p
    }

    /// Visits the contexts that were seen, from the empty one to the longest.
    fn walk(&self, context: &[u32], mut visit: impl FnMut(&Level, usize)) {
        let mut siblings = 0..1;
        for (length, level) in self.levels.iter().enumerate() {
            let node = match length {
                0 => Some(0),
                _ => history(context, length, self.vocabulary).and_then(|token| level.find(siblings, token)),
            };
            let Some(node) = node else { return };
            visit(level, node);
            if length + 1 == self.levels.len() {
                return;
            }
            siblings = level.children_of(node);
        }
    }
}

/// The token this far before the end of the context; 1 is the last one. One step before its first token is the begin-of-text
/// marker, whose id is V; there is nothing further, and nothing for an id outside the vocabulary.
pub(super) fn history(context: &[u32], distance: usize, vocabulary: usize) -> Option<u16> {
    match context.len().checked_sub(distance) {
        Some(at) => u16::try_from(context[at]).ok().filter(|&token| usize::from(token) < vocabulary),
        None if distance == context.len() + 1 => u16::try_from(vocabulary).ok(),
        None => None,
    }
}
