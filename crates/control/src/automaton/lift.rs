//! From bytes to tokens: what a token does to a state of an automaton over bytes, for all tokens and states that matter.
//!
//! From each state that a text can be in between two tokens, the trie of the vocabulary is walked once; a prefix that is refused
//! cuts off all tokens behind it. Tokens that do the same in every state fall into one class, found by refining the partition of
//! the vocabulary state by state.

use std::collections::HashMap;

use lldm_diffusion::Token;

use super::bytes::{ByteDfa, DEAD};
use super::tokens::TokenAutomaton;
use super::vocabulary::Vocabulary;
use crate::budget::Meter;
use crate::error::{Error, Result};

/// The most classes.
const MOST_CLASSES: usize = u16::MAX as usize;

/// The token automaton of a language over a vocabulary.
///
/// # Errors
/// [`Error::Empty`] where no text of whole tokens is accepted, [`Error::Classes`], and the meter's.
pub fn lift(dfa: &ByteDfa, vocabulary: &Vocabulary, meter: &Meter) -> Result<TokenAutomaton> {
    let mut classes = Classes::new(vocabulary.size());
    // States between tokens, by the number of the state over bytes.
    let mut number: HashMap<u32, u32> = HashMap::from([(0, 0)]);
    let mut states = vec![0u32];
    let mut done = 0;
    while done < states.len() {
        meter.check(states.len(), MOST_CLASSES.min(vocabulary.size()) * size_of::<u32>() / 64)?;
        let moves = moves(dfa, states[done], vocabulary);
        done += 1;
        for (_, to) in &moves {
            number.entry(*to).or_insert_with(|| {
                states.push(*to);
                states.len() as u32 - 1
            });
        }
        classes.refine(moves);
        if classes.count > MOST_CLASSES - 2 {
            return Err(Error::Classes { limit: MOST_CLASSES - 2 });
        }
    }
    let (class_of, count) = classes.numbered();
    // What a class does is what its first token does.
    let mut example: Vec<Option<&[u8]>> = vec![None; count];
    for entry in vocabulary.sorted() {
        example[class_of[entry.token as usize] as usize].get_or_insert(&entry.bytes);
    }
    let mut next = Vec::with_capacity(states.len() * count);
    for state in &states {
        next.extend(example.iter().map(|bytes| {
            let to = bytes.and_then(|bytes| bytes.iter().try_fold(*state, |state, byte| dfa.next(state, *byte)));
            to.and_then(|to| number.get(&to).copied()).unwrap_or(DEAD)
        }));
        meter.check(states.len(), 0)?;
    }
    let accepting = states.iter().map(|state| dfa.is_accepting(*state)).collect();
    TokenAutomaton::new(class_of, next, accepting, vocabulary.end())
}

/// The tokens that a state takes, and where they lead.
fn moves(dfa: &ByteDfa, state: u32, vocabulary: &Vocabulary) -> Vec<(Token, u32)> {
    let mut moves = Vec::new();
    // The states after each byte of the token at hand, as far as it is taken.
    let mut path = vec![state];
    // Bytes of the refused prefix: what shares them is refused, too.
    let mut refused = usize::MAX;
    for entry in vocabulary.sorted() {
        if entry.shared >= refused {
            continue;
        }
        refused = usize::MAX;
        path.truncate(entry.shared + 1);
        for at in path.len() - 1..entry.bytes.len() {
            match dfa.next(path[at], entry.bytes[at]) {
                Some(next) => path.push(next),
                None => {
                    refused = at + 1;
                    break;
                }
            }
        }
        if refused == usize::MAX {
            moves.push((entry.token, path[entry.bytes.len()]));
        }
    }
    moves
}

/// A partition of the tokens.
struct Classes {
    of: Vec<u32>,
    /// Tokens of each class.
    sizes: Vec<usize>,
    count: usize,
}

impl Classes {
    fn new(tokens: usize) -> Self {
        Self { of: vec![0; tokens], sizes: vec![tokens], count: 1 }
    }

    /// Tells tokens apart by where they lead; those without a move stay where they are.
    fn refine(&mut self, moves: Vec<(Token, u32)>) {
        let mut groups: HashMap<(u32, u32), Vec<Token>> = HashMap::new();
        for (token, to) in moves {
            groups.entry((self.of[token as usize], to)).or_default().push(token);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_unstable_by_key(|(key, _)| *key);
        for ((class, _), tokens) in groups {
            if tokens.len() == self.sizes[class as usize] {
                continue;
            }
            self.sizes[class as usize] -= tokens.len();
            let new = self.sizes.len() as u32;
            self.sizes.push(tokens.len());
            tokens.into_iter().for_each(|token| self.of[token as usize] = new);
        }
        self.count = self.sizes.len();
    }

    /// The class of each token, numbered in the order of the tokens, and how many there are.
    fn numbered(self) -> (Vec<u16>, usize) {
        let mut number: HashMap<u32, u16> = HashMap::new();
        let of = self.of.into_iter().map(|class| {
            let next = number.len() as u16;
            *number.entry(class).or_insert(next)
        });
        let of: Vec<u16> = of.collect();
        let count = number.len();
        (of, count)
    }
}
