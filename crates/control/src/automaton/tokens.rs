//! Deterministic automata over tokens, whose letters are classes of tokens.

use std::collections::HashMap;

use lldm_diffusion::Token;

use super::bytes::DEAD;
use crate::error::{Error, Result};

/// An automaton over the V tokens of a vocabulary. State 0 is the first; from every state some accepted text can be reached.
///
/// Two classes are no letters of the language: that of the tokens that end a text, and that of the tokens that no text holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAutomaton {
    class_of: Vec<u16>,
    classes: usize,
    end_class: u16,
    edges: Vec<Vec<TokenEdges>>,
    accepting: Vec<bool>,
    distance: Vec<u32>,
}

/// The classes that lead from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEdges {
    /// The other state.
    pub to: u32,
    /// The classes, ascending.
    pub classes: Vec<u16>,
}

impl TokenAutomaton {
    /// From the class of each token, the transitions `next` [states, classes] (`u32::MAX` refuses), the states that accept, and
    /// the tokens that end a text. States without a way to acceptance are left out, classes without a difference joined.
    ///
    /// # Errors
    /// [`Error::Empty`] where nothing is accepted.
    pub fn new(class_of: Vec<u16>, next: Vec<u32>, accepting: Vec<bool>, end: &[Token]) -> Result<Self> {
        let classes = next.len() / accepting.len().max(1);
        let distance = distances(&next, classes, &accepting);
        if distance.first().is_none_or(|needed| *needed == u32::MAX) {
            let message = "the tokens of this model cannot spell any".to_string();
            return Err(Error::Empty { message });
        }
        // The living states that can be reached, in the order in which they are.
        let mut number = vec![DEAD; accepting.len()];
        let mut order = vec![0usize];
        number[0] = 0;
        let mut table: Vec<Vec<u32>> = Vec::new();
        while let Some(state) = order.get(table.len()).copied() {
            let mut row = Vec::with_capacity(classes);
            for to in &next[state * classes..(state + 1) * classes] {
                if *to == DEAD || distance[*to as usize] == u32::MAX {
                    row.push(DEAD);
                    continue;
                }
                if number[*to as usize] == DEAD {
                    number[*to as usize] = order.len() as u32;
                    order.push(*to as usize);
                }
                row.push(number[*to as usize]);
            }
            table.push(row);
        }
        let (class_of, table, end_class) = quotient(&class_of, table, end);
        let edges = table.iter().map(|row| grouped(row)).collect();
        Ok(Self {
            class_of,
            classes: table.first().map_or(0, Vec::len).max(end_class as usize + 1),
            end_class,
            edges,
            accepting: order.iter().map(|state| accepting[*state]).collect(),
            distance: order.iter().map(|state| distance[*state]).collect(),
        })
    }

    /// The class of each of the V tokens.
    pub fn class_of(&self) -> &[u16] {
        &self.class_of
    }

    /// The number of classes C.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The class of the tokens that end a text.
    pub fn end_class(&self) -> u16 {
        self.end_class
    }

    /// The number of states.
    pub fn states(&self) -> usize {
        self.accepting.len()
    }

    /// The ways out of a state.
    pub fn edges(&self, state: u32) -> &[TokenEdges] {
        &self.edges[state as usize]
    }

    /// Whether a text may end in this state.
    pub fn is_accepting(&self, state: u32) -> bool {
        self.accepting[state as usize]
    }

    /// The fewest tokens after which a text in this state may end.
    pub fn distance(&self, state: u32) -> usize {
        self.distance[state as usize] as usize
    }

    /// The state after a token that is no end token.
    pub fn next(&self, state: u32, token: Token) -> Option<u32> {
        let class = *self.class_of.get(token as usize)?;
        self.edges(state).iter().find(|edge| edge.classes.binary_search(&class).is_ok()).map(|edge| edge.to)
    }

    /// Whether a text of tokens, without an end token, belongs to the language.
    pub fn accepts(&self, text: &[Token]) -> bool {
        let state = text.iter().try_fold(0, |state, token| self.next(state, *token));
        state.is_some_and(|state| self.is_accepting(state))
    }
}

/// The fewest tokens from each state to acceptance; `u32::MAX` where there is no way.
fn distances(next: &[u32], classes: usize, accepting: &[bool]) -> Vec<u32> {
    let states = accepting.len();
    let mut sources: Vec<Vec<u32>> = vec![Vec::new(); states];
    for (at, to) in next.iter().enumerate().filter(|(_, to)| **to != DEAD) {
        let from = (at / classes) as u32;
        // The classes of a state come one after the other, so most doubles are neighbours.
        let into = &mut sources[*to as usize];
        if into.last() != Some(&from) {
            into.push(from);
        }
    }
    let mut distance = vec![u32::MAX; states];
    let mut level: Vec<usize> = (0..states).filter(|state| accepting[*state]).collect();
    let mut steps = 0;
    while !level.is_empty() {
        level.iter().for_each(|state| distance[*state] = steps);
        steps += 1;
        let mut further: Vec<usize> =
            level.iter().flat_map(|state| &sources[*state]).map(|from| *from as usize).collect();
        further.sort_unstable();
        further.dedup();
        further.retain(|from| distance[*from] == u32::MAX);
        level = further;
    }
    distance
}

/// Joins classes with equal columns; end tokens get a class of their own, the last one.
fn quotient(class_of: &[u16], table: Vec<Vec<u32>>, end: &[Token]) -> (Vec<u16>, Vec<Vec<u32>>, u16) {
    let classes = table.first().map_or(0, Vec::len);
    let mut number: HashMap<Vec<u32>, u16> = HashMap::new();
    let mut kept = Vec::new();
    let new: Vec<u16> = (0..classes)
        .map(|class| {
            let column: Vec<u32> = table.iter().map(|row| row[class]).collect();
            *number.entry(column).or_insert_with(|| {
                kept.push(class);
                (kept.len() - 1) as u16
            })
        })
        .collect();
    let end_class = kept.len() as u16;
    let mut class_of: Vec<u16> = class_of.iter().map(|class| new[*class as usize]).collect();
    for token in end {
        if let Some(class) = class_of.get_mut(*token as usize) {
            *class = end_class;
        }
    }
    let table = table.iter().map(|row| kept.iter().map(|class| row[*class]).chain([DEAD]).collect()).collect();
    (class_of, table, end_class)
}

/// A row of transitions by where they lead.
fn grouped(row: &[u32]) -> Vec<TokenEdges> {
    let mut edges: Vec<TokenEdges> = Vec::new();
    let mut place: HashMap<u32, usize> = HashMap::new();
    for (class, to) in row.iter().enumerate().filter(|(_, to)| **to != DEAD) {
        let at = *place.entry(*to).or_insert_with(|| {
            edges.push(TokenEdges { to: *to, classes: Vec::new() });
            edges.len() - 1
        });
        edges[at].classes.push(class as u16);
    }
    edges
}
