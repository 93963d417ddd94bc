//! Deterministic automata over tokens, whose letters are classes of tokens.

use std::collections::HashMap;

use lldm_diffusion::Token;

use super::bytes::DEAD;
use super::flow::Flow;
use crate::error::{Error, Result};

/// The most classes, without that of the tokens that end a text.
pub(super) const MOST_CLASSES: usize = u16::MAX as usize - 1;

/// An automaton over the V tokens of a vocabulary. State 0 is the first; from every state some accepted text can be reached.
///
/// Two classes are no letters of the language: that of the tokens that end a text, and that of the tokens that no text holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAutomaton {
    pub(super) class_of: Vec<u16>,
    pub(super) classes: usize,
    pub(super) accepting: Vec<bool>,
    pub(super) distance: Vec<u32>,
    pub(super) flow: Flow,
}

/// The classes that lead from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenEdges<'a> {
    /// The other state.
    pub to: u32,
    /// The classes, ascending.
    pub classes: &'a [u16],
}

/// What each class does to the states that take it: pairs of a state and the next one.
pub(super) type Columns = Vec<Vec<(u32, u32)>>;

impl TokenAutomaton {
    /// From the class of each token, the transitions `next` [states, classes] (`u32::MAX` refuses), the states that accept, and
    /// the tokens that end a text. States without a way to acceptance are left out, classes without a difference joined.
    ///
    /// # Errors
    /// [`Error::Empty`] where nothing is accepted, [`Error::Classes`].
    pub fn new(class_of: Vec<u16>, next: Vec<u32>, accepting: Vec<bool>, end: &[Token]) -> Result<Self> {
        let classes = next.len() / accepting.len().max(1);
        let column = |class: usize| {
            let to = next.iter().skip(class).step_by(classes);
            (0..).zip(to.copied()).filter(|(_, to)| *to != DEAD).collect()
        };
        let columns = (0..classes).map(column).collect();
        Self::from_columns(class_of.into_iter().map(u32::from).collect(), columns, &accepting, end)
    }

    /// The same from the columns of the classes.
    pub(super) fn from_columns(
        mut class_of: Vec<u32>,
        columns: Columns,
        accepting: &[bool],
        end: &[Token],
    ) -> Result<Self> {
        let (order, distance) = living(&columns, accepting)?;
        let mut number = vec![DEAD; accepting.len()];
        (0..).zip(&order).for_each(|(new, old)| number[*old as usize] = new);
        // End tokens are no letters, whatever they spell.
        let ended = columns.len() as u32;
        for token in end {
            if let Some(class) = class_of.get_mut(*token as usize) {
                *class = ended;
            }
        }
        let (class_of, columns) = quotient(&class_of, columns, &number)?;
        let end_class = columns.len() as u16;
        let accepting: Vec<bool> = order.iter().map(|state| accepting[*state as usize]).collect();
        Ok(Self {
            class_of,
            classes: columns.len() + 1,
            flow: Flow::new(&columns, &accepting, end_class),
            distance: order.iter().map(|state| distance[*state as usize]).collect(),
            accepting,
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

    /// The class of the tokens that end a text: the last one.
    pub fn end_class(&self) -> u16 {
        self.classes as u16 - 1
    }

    /// The number of states S.
    pub fn states(&self) -> usize {
        self.accepting.len()
    }

    /// The ways out of a state, by the state that they reach.
    pub fn edges(&self, state: u32) -> impl ExactSizeIterator<Item = TokenEdges<'_>> {
        let edges = self.flow.of(state);
        let letters = edges.len() - usize::from(self.is_accepting(state));
        edges[..letters].iter().map(|edge| TokenEdges { to: edge.to, classes: self.flow.list(edge.list) })
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
        self.edges(state).find(|edge| edge.classes.binary_search(&class).is_ok()).map(|edge| edge.to)
    }

    /// Whether a text of tokens, without an end token, belongs to the language.
    pub fn accepts(&self, text: &[Token]) -> bool {
        let state = text.iter().try_fold(0, |state, token| self.next(state, *token));
        state.is_some_and(|state| self.is_accepting(state))
    }

    /// The bytes that it takes in memory.
    pub fn size_bytes(&self) -> usize {
        size_of_val(&self.class_of[..])
            + size_of_val(&self.accepting[..])
            + size_of_val(&self.distance[..])
            + self.flow.size_bytes()
    }

    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }
}

/// The states that can be reached and from which acceptance can, by breadth; and the fewest tokens from each state to acceptance.
fn living(columns: &Columns, accepting: &[bool]) -> Result<(Vec<u32>, Vec<u32>)> {
    let states = accepting.len();
    let mut moves: Vec<(u32, u32)> = columns.iter().flatten().copied().collect();
    moves.sort_unstable();
    moves.dedup();
    let starts = starts_of(states, moves.iter().map(|(from, _)| *from));
    let mut back: Vec<(u32, u32)> = moves.iter().map(|(from, to)| (*to, *from)).collect();
    back.sort_unstable();
    let back_starts = starts_of(states, back.iter().map(|(to, _)| *to));

    let mut distance = vec![u32::MAX; states];
    let mut queue: Vec<u32> = (0..states as u32).filter(|state| accepting[*state as usize]).collect();
    queue.iter().for_each(|state| distance[*state as usize] = 0);
    let mut done = 0;
    while let Some(state) = queue.get(done).map(|state| *state as usize) {
        done += 1;
        for (_, from) in &back[back_starts[state]..back_starts[state + 1]] {
            if distance[*from as usize] == u32::MAX {
                distance[*from as usize] = distance[state] + 1;
                queue.push(*from);
            }
        }
    }
    if distance.first().is_none_or(|needed| *needed == u32::MAX) {
        return Err(Error::Empty { message: "the tokens of this model cannot spell any".to_string() });
    }
    let mut met = vec![false; states];
    met[0] = true;
    let mut order = vec![0u32];
    let mut done = 0;
    while let Some(state) = order.get(done).map(|state| *state as usize) {
        done += 1;
        for (_, to) in &moves[starts[state]..starts[state + 1]] {
            if distance[*to as usize] != u32::MAX && !std::mem::replace(&mut met[*to as usize], true) {
                order.push(*to);
            }
        }
    }
    Ok((order, distance))
}

/// Where the stretch of each state begins among sorted ones.
fn starts_of(states: usize, sorted: impl Iterator<Item = u32>) -> Vec<usize> {
    let mut starts = vec![0; states + 1];
    sorted.for_each(|state| starts[state as usize + 1] += 1);
    (0..states).for_each(|state| starts[state + 1] += starts[state]);
    starts
}

/// Keeps of the columns what concerns states with a number, and joins classes with equal ones. Classes are numbered in the order of
/// their first tokens; what has no column ends the text, and its class is the last.
fn quotient(class_of: &[u32], columns: Columns, number: &[u32]) -> Result<(Vec<u16>, Columns)> {
    let kept: Vec<Vec<(u32, u32)>> = columns
        .into_iter()
        .map(|column| {
            let new = |(from, to): (u32, u32)| (number[from as usize], number[to as usize]);
            let mut column: Vec<_> =
                column.into_iter().map(new).filter(|(from, to)| *from != DEAD && *to != DEAD).collect();
            column.sort_unstable();
            column
        })
        .collect();
    let mut numbers: HashMap<&[(u32, u32)], u32> = HashMap::new();
    let mut new_class = vec![u32::MAX; kept.len()];
    let mut order = Vec::new();
    for class in class_of.iter().map(|class| *class as usize).filter(|class| *class < kept.len()) {
        if new_class[class] == u32::MAX {
            new_class[class] = *numbers.entry(&kept[class]).or_insert_with(|| {
                order.push(class);
                order.len() as u32 - 1
            });
        }
    }
    if order.len() > MOST_CLASSES {
        return Err(Error::Classes { limit: MOST_CLASSES });
    }
    let ended = order.len() as u16;
    let of = |class: &u32| new_class.get(*class as usize).map_or(ended, |class| *class as u16);
    let class_of = class_of.iter().map(of).collect();
    Ok((class_of, order.into_iter().map(|class| kept[class].clone()).collect()))
}
