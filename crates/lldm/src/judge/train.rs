//! Counting: from token sequences to the levels of the n-gram model.
//!
//! An n-gram is one 128-bit key, `(newest, ..., oldest, token)` in 16-bit digits, so that sorting the keys groups them by
//! context in the order in which [`Level`] keeps them. From the longest order down: sort, run-length count, drop the oldest
//! token of every *distinct* key; those are the events of the order below, which makes its counts continuation counts.
//!
//! The begin-of-text marker stands once before each sequence. An n-gram that begins with it has no left neighbour, so its
//! continuation count would be nothing; it keeps its own count, as in KenLM ("adjusted counts", Heafield et al. 2013) and SRILM.

use super::discount::Discount;
use super::error::JudgeError;
use super::kneser_ney::{MAX_ORDER, MAX_VOCABULARY, history};
use super::level::Level;

const DIGIT: u32 = 16;
const DIGIT_MASK: u128 = (1 << DIGIT) - 1;

/// The levels of a model of this order, for contexts of 0 to `order - 1` tokens.
pub(super) fn levels<S: AsRef<[u32]>>(
    order: usize,
    vocabulary: usize,
    sequences: impl IntoIterator<Item = S>,
) -> Result<Vec<Level>, JudgeError> {
    if !(1..=MAX_ORDER).contains(&order) {
        return Err(JudgeError::Order { found: order });
    }
    if !(1..=MAX_VOCABULARY).contains(&vocabulary) {
        return Err(JudgeError::Vocabulary { found: vocabulary });
    }
    let mut events = events(order, vocabulary, sequences)?;
    let mut levels = Vec::with_capacity(order);
    let mut longer_contexts: Option<Vec<u128>> = None;
    for length in (0..order).rev() {
        let mut keys = std::mem::take(&mut events[length]);
        keys.sort_unstable();
        let (level, contexts) = level(length, &keys, longer_contexts.as_deref());
        if length > 0 {
            keys.dedup();
            events[length - 1].extend(keys.iter().map(|&key| drop_oldest(key)));
        }
        levels.push(level);
        longer_contexts = Some(contexts);
    }
    levels.reverse();
    Ok(levels)
}

/// The keys that are counted as they occur, by length of context: whole n-grams on the last level, and below it only those
/// that begin with the begin-of-text marker.
fn events<S: AsRef<[u32]>>(
    order: usize,
    vocabulary: usize,
    sequences: impl IntoIterator<Item = S>,
) -> Result<Vec<Vec<u128>>, JudgeError> {
    let mut events = vec![Vec::new(); order];
    let mut total: u32 = 0;
    for sequence in sequences {
        let tokens = sequence.as_ref();
        for (position, &token) in tokens.iter().enumerate() {
            if token as usize >= vocabulary {
                return Err(JudgeError::Token { token, position, vocabulary });
            }
            total = total.checked_add(1).ok_or(JudgeError::CorpusTooLarge)?;
            let length = (position + 1).min(order - 1);
            let context = (1..=length).filter_map(|distance| history(&tokens[..position], distance, vocabulary));
            let key = context.fold(0, |key, digit| key << DIGIT | u128::from(digit));
            events[length].push(key << DIGIT | u128::from(token));
        }
    }
    if total == 0 { Err(JudgeError::EmptyCorpus) } else { Ok(events) }
}

/// The level of contexts of this length from its sorted keys, and its contexts' keys. `longer` are the contexts of the next
/// level: each of them has its parent here, since every longer n-gram left its shorter one among the keys.
fn level(length: usize, keys: &[u128], longer: Option<&[u128]>) -> (Level, Vec<u128>) {
    let (mut contexts, mut oldest, mut successors) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tokens, mut counts) = (Vec::new(), Vec::new());
    let mut times = [0u64; 4];
    for run in keys.chunk_by(|a, b| a == b) {
        let (context, token) = (run[0] >> DIGIT, digit(run[0]));
        if contexts.last() != Some(&context) {
            contexts.push(context);
            oldest.push(if length == 0 { 0 } else { digit(context) });
            successors.push(tokens.len() as u32);
        }
        tokens.push(token);
        counts.push(run.len() as u32);
        if let Some(n) = times.get_mut(run.len() - 1) {
            *n += 1;
        }
    }
    successors.push(tokens.len() as u32);
    let children = longer.map(|longer| children(&contexts, longer)).unwrap_or_default();
    // A model stays in memory for long: give back what growing took.
    tokens.shrink_to_fit();
    counts.shrink_to_fit();
    oldest.shrink_to_fit();
    successors.shrink_to_fit();
    (Level::new(Discount::estimate(times), oldest, children, successors, tokens, counts), contexts)
}

/// Offsets of each context's children among the sorted longer contexts.
fn children(contexts: &[u128], longer: &[u128]) -> Vec<u32> {
    let mut next = 0;
    let mut offsets = Vec::with_capacity(contexts.len() + 1);
    for &context in contexts {
        offsets.push(next as u32);
        next += longer[next..].iter().take_while(|&&child| child >> DIGIT == context).count();
    }
    offsets.push(next as u32);
    debug_assert_eq!(next, longer.len(), "a context without its parent");
    offsets
}

fn digit(key: u128) -> u16 {
    (key & DIGIT_MASK) as u16
}

/// `(newest, ..., oldest, token)` without `oldest`.
fn drop_oldest(key: u128) -> u128 {
    key >> (2 * DIGIT) << DIGIT | key & DIGIT_MASK
}
