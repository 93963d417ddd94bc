//! From bytes to tokens: what a token does to a state of an automaton over bytes, for all tokens and states.
//!
//! What a string of bytes does to all states at once is its effect: a partial map of states, of which there are few, because most
//! strings of an equal kind do the same (the letters within a word, say, or the third digit). So effects are numbered as they are met,
//! and what a byte makes of an effect is computed once. The trie of the vocabulary is then walked a single time, a table look-up a
//! byte; tokens of one effect are one class. Where the effects become too many they are taken for a part of the states at a time, and
//! the partition of the vocabulary is refined part by part.

use std::collections::HashMap;
use std::ops::Range;

use super::bytes::ByteDfa;
use super::tokens::{Columns, TokenAutomaton};
use super::vocabulary::Vocabulary;
use crate::budget::Meter;
use crate::error::{Error, Result};

/// The effect of what is refused everywhere.
const NONE: u32 = 0;
/// The effect of the empty string.
const EMPTY: u32 = 1;
/// What has not been computed yet.
const UNKNOWN: u32 = u32::MAX;
/// Tokens between two looks at the clock.
const PERIOD: usize = 4096;

/// The token automaton of a language over a vocabulary.
///
/// # Errors
/// [`Error::Empty`] where no text of whole tokens is accepted, [`Error::Classes`], and the meter's.
pub fn lift(dfa: &ByteDfa, vocabulary: &Vocabulary, meter: &Meter) -> Result<TokenAutomaton> {
    let states = dfa.states() as u32;
    let mut class_of = vec![0u32; vocabulary.size()];
    let mut columns: Columns = vec![Vec::new()];
    let (mut from, mut count) = (0, states);
    while from < states {
        let part = from..states.min(from + count);
        match Effects::of_tokens(dfa, part.clone(), vocabulary, meter)? {
            Some((effects, of_token)) => {
                refine(&mut class_of, &mut columns, &effects, &of_token);
                meter.check(1, columns.iter().map(|column| size_of_val(&column[..])).sum())?;
                from = part.end;
            }
            None if count > 1 => count = count.div_ceil(2),
            None => return Err(Error::Bytes { limit: meter.budget().bytes }),
        }
    }
    let accepting: Vec<bool> = (0..states).map(|state| dfa.is_accepting(state)).collect();
    TokenAutomaton::from_columns(class_of, columns, &accepting, vocabulary.end())
}

/// Tells tokens of one class apart by their effects on more states.
fn refine(class_of: &mut [u32], columns: &mut Columns, effects: &Effects, of_token: &[u32]) {
    let mut number: HashMap<(u32, u32), u32> = HashMap::new();
    let mut finer: Columns = Vec::new();
    // Neighbours are often alike.
    let mut last = ((UNKNOWN, UNKNOWN), 0);
    for (class, effect) in class_of.iter_mut().zip(of_token) {
        let key = (*class, *effect);
        if key != last.0 {
            let new = number.entry(key).or_insert_with(|| {
                let mut column = columns[*class as usize].clone();
                column.extend_from_slice(effects.of(*effect));
                finer.push(column);
                finer.len() as u32 - 1
            });
            last = (key, *new);
        }
        *class = last.1;
    }
    *columns = finer;
}

/// The effects of strings on a part of the states.
struct Effects<'a> {
    dfa: &'a ByteDfa,
    /// Pairs of a state of the part and the one that it becomes, ascending, of all effects.
    pairs: Vec<(u32, u32)>,
    /// Where the pairs of each effect begin; one more is the end.
    starts: Vec<usize>,
    /// What each class of bytes makes of each effect.
    after: Vec<u32>,
    /// Effects by a hash of their pairs; those that share it take the next ones.
    number: HashMap<u64, u32>,
}

impl<'a> Effects<'a> {
    /// The effects, and which each token has; `None` where they take more than a share of the memory that is allowed.
    fn of_tokens(
        dfa: &'a ByteDfa,
        part: Range<u32>,
        vocabulary: &Vocabulary,
        meter: &Meter,
    ) -> Result<Option<(Self, Vec<u32>)>> {
        let most = meter.budget().bytes / 4;
        let mut effects = Self { dfa, pairs: Vec::new(), starts: vec![0], after: Vec::new(), number: HashMap::new() };
        effects.settle();
        effects.pairs.extend(part.map(|state| (state, state)));
        effects.settle();
        let mut of_token = vec![NONE; vocabulary.size()];
        // The effects of the beginnings of the token at hand, as far as they are any.
        let mut path = vec![EMPTY];
        // Bytes of the refused beginning: what shares them is refused, too.
        let mut refused = u32::MAX;
        for (index, entry) in vocabulary.sorted().iter().enumerate() {
            if index % PERIOD == 0 {
                meter.check(dfa.states(), 0)?;
                if effects.size_bytes() > most {
                    return Ok(None);
                }
            }
            if entry.shared >= refused {
                continue;
            }
            refused = u32::MAX;
            path.truncate(entry.shared as usize + 1);
            let bytes = vocabulary.bytes(entry);
            let mut effect = path[path.len() - 1];
            for (at, byte) in bytes.iter().enumerate().skip(entry.shared as usize) {
                effect = effects.then(effect, *byte);
                if effect == NONE {
                    refused = at as u32 + 1;
                    break;
                }
                path.push(effect);
            }
            of_token[entry.token as usize] = effect;
        }
        Ok((effects.size_bytes() <= most).then_some((effects, of_token)))
    }

    /// The pairs of an effect.
    fn of(&self, effect: u32) -> &[(u32, u32)] {
        &self.pairs[self.starts[effect as usize]..self.starts[effect as usize + 1]]
    }

    /// The effect of one byte more.
    fn then(&mut self, effect: u32, byte: u8) -> u32 {
        let class = self.dfa.class_of(byte);
        let known = effect as usize * self.dfa.classes() + class;
        if self.after[known] == UNKNOWN {
            for at in self.starts[effect as usize]..self.starts[effect as usize + 1] {
                let (from, state) = self.pairs[at];
                self.pairs.extend(self.dfa.after(state, class).map(|to| (from, to)));
            }
            self.after[known] = self.settle();
        }
        self.after[known]
    }

    /// The number of the effect whose pairs stand at the end, beyond all effects; they are dropped if it is known.
    fn settle(&mut self) -> u32 {
        let start = self.starts[self.starts.len() - 1];
        let mix = |hash: u64, (from, to): &(u32, u32)| {
            (hash.rotate_left(5) ^ (u64::from(*from) << 32 | u64::from(*to))).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        let mut hash = self.pairs[start..].iter().fold(0, mix);
        while let Some(known) = self.number.get(&hash).copied() {
            if self.of(known) == &self.pairs[start..] {
                self.pairs.truncate(start);
                return known;
            }
            hash = hash.wrapping_add(1);
        }
        let new = self.starts.len() as u32 - 1;
        self.number.insert(hash, new);
        self.starts.push(self.pairs.len());
        self.after.resize(self.after.len() + self.dfa.classes(), UNKNOWN);
        new
    }

    fn size_bytes(&self) -> usize {
        size_of_val(&self.pairs[..]) + size_of_val(&self.after[..])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{regex, synthetic_tokens};
    use super::*;
    use crate::budget::Budget;

    #[test]
    fn parts_of_the_states_give_what_all_at_once_give() {
        let vocabulary = Vocabulary::new(&synthetic_tokens(5000, 2), &[1]);
        let meter = Budget::default().meter();
        let dfa = regex("(?:[a-z]{1,9}|\"[0-9]{2,5}\" ){0,20}", &meter).unwrap();
        let all = lift(&dfa, &vocabulary, &meter).unwrap();
        let of = |bytes: usize| lift(&dfa, &vocabulary, &Budget { bytes, ..Budget::default() }.meter());
        let (effects, _) = Effects::of_tokens(&dfa, 0..dfa.states() as u32, &vocabulary, &meter).unwrap().unwrap();
        for share in [2, 3] {
            let bytes = 4 * effects.size_bytes() / share;
            let meter = Budget { bytes, ..Budget::default() }.meter();
            let whole = Effects::of_tokens(&dfa, 0..dfa.states() as u32, &vocabulary, &meter);
            assert!(whole.is_ok_and(|whole| whole.is_none()));
            assert_eq!(of(bytes), Ok(all.clone()), "a share of 1 / {share}");
        }
        assert_eq!(of(1000).map(|_| ()), Err(Error::Bytes { limit: 1000 }));
    }
}
