//! Deterministic automata over bytes, and how they are made: by exploring a machine from its first state.
//!
//! They are partial (a missing transition refuses) and trimmed: from every state some accepted string can still be reached. So a
//! state is as good as its promise that the text can be completed.

use std::collections::HashMap;
use std::hash::Hash;

use super::minimise::minimise;
use crate::budget::Meter;
use crate::error::{Error, Result};

/// No state.
pub(super) const DEAD: u32 = u32::MAX;

/// A language as its author thinks of it: states, what a byte does to one, and which are good ends.
pub trait Machine {
    /// A state.
    type State: Clone + Eq + Hash;

    /// The first state.
    fn start(&self) -> Self::State;

    /// The state after a byte; `None` refuses.
    fn next(&self, state: &Self::State, byte: u8) -> Option<Self::State>;

    /// Whether a text may end here.
    fn accepts(&self, state: &Self::State) -> bool;

    /// A number for each byte; bytes with the same one do the same in every state.
    fn alike(&self) -> [u8; 256] {
        std::array::from_fn(|byte| byte as u8)
    }
}

/// A deterministic, partial, trimmed, minimal automaton over bytes. State 0 is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteDfa {
    /// Bytes that no state tells apart have one class.
    pub(super) byte_class: Box<[u8; 256]>,
    pub(super) classes: usize,
    /// [states, classes].
    pub(super) next: Vec<u32>,
    pub(super) accepting: Vec<bool>,
}

/// The strings that all of several automata accept.
pub struct All<'a>(pub &'a [ByteDfa]);

/// The strings that an automaton refuses.
pub struct Not<'a>(pub &'a ByteDfa);

impl ByteDfa {
    /// The automaton of a machine: its reachable states, without those from which nothing is accepted, and minimal.
    ///
    /// # Errors
    /// [`Error::Empty`] where it accepts nothing, and the meter's.
    pub fn explore<M: Machine>(machine: &M, meter: &Meter) -> Result<Self> {
        let mut number = HashMap::from([(machine.start(), 0u32)]);
        let mut states = vec![machine.start()];
        let mut rows: Vec<[u32; 256]> = Vec::new();
        let mut accepting = Vec::new();
        let alike = machine.alike();
        let example: Vec<Option<usize>> = (0..256).map(|byte| (0..byte).find(|at| alike[*at] == alike[byte])).collect();
        while let Some(state) = states.get(rows.len()).cloned() {
            meter.check(states.len(), size_of::<[u32; 256]>())?;
            let mut row = [DEAD; 256];
            for byte in 0..=255u8 {
                if let Some(known) = example[byte as usize] {
                    row[byte as usize] = row[known];
                    continue;
                }
                let Some(next) = machine.next(&state, byte) else { continue };
                row[byte as usize] = *number.entry(next).or_insert_with_key(|next| {
                    states.push(next.clone());
                    states.len() as u32 - 1
                });
            }
            rows.push(row);
            accepting.push(machine.accepts(&state));
        }
        let (byte_class, classes) = byte_classes(&rows);
        let mut next = Vec::with_capacity(rows.len() * classes);
        for row in &rows {
            let mut compact = vec![DEAD; classes];
            (0..256).for_each(|byte| compact[byte_class[byte] as usize] = row[byte]);
            next.extend(compact);
        }
        drop(rows);
        let (next, accepting) = minimise(next, classes, accepting, meter)?;
        if accepting.is_empty() {
            return Err(Error::Empty { message: "its parts exclude each other".to_string() });
        }
        let small = Self { byte_class, classes, next, accepting };
        Ok(small.with_fewest_classes())
    }

    /// The strings that all of `parts` accept.
    pub fn all(parts: &[Self], meter: &Meter) -> Result<Self> {
        Self::explore(&All(parts), meter)
    }

    /// The strings that this one refuses.
    pub fn complement(&self, meter: &Meter) -> Result<Self> {
        Self::explore(&Not(self), meter)
    }

    /// The number of states.
    pub fn states(&self) -> usize {
        self.accepting.len()
    }

    /// The bytes that it takes in memory.
    pub fn size_bytes(&self) -> usize {
        256 + size_of_val(&self.next[..]) + size_of_val(&self.accepting[..])
    }

    /// The state after a byte.
    pub fn next(&self, state: u32, byte: u8) -> Option<u32> {
        self.after(state, self.class_of(byte))
    }

    /// The number of classes of bytes that some state tells apart.
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// The class of a byte.
    pub(super) fn class_of(&self, byte: u8) -> usize {
        self.byte_class[byte as usize] as usize
    }

    /// The state after a byte of a class.
    pub(super) fn after(&self, state: u32, class: usize) -> Option<u32> {
        let next = self.next[state as usize * self.classes + class];
        (next != DEAD).then_some(next)
    }

    /// A number for each byte; bytes with the same one do the same in every state.
    pub(crate) fn class(&self, byte: u8) -> u8 {
        self.byte_class[byte as usize]
    }

    /// Whether a text may end in this state.
    pub fn is_accepting(&self, state: u32) -> bool {
        self.accepting[state as usize]
    }

    /// The state after a string, from the first one.
    pub fn walk(&self, text: &[u8]) -> Option<u32> {
        text.iter().try_fold(0, |state, byte| self.next(state, *byte))
    }

    /// Whether a string belongs to the language.
    pub fn accepts(&self, text: &[u8]) -> bool {
        self.walk(text).is_some_and(|state| self.is_accepting(state))
    }

    /// Joins classes of bytes that minimal states no longer tell apart.
    fn with_fewest_classes(self) -> Self {
        let column =
            |class: usize| -> Vec<u32> { self.next.iter().skip(class).step_by(self.classes).copied().collect() };
        let mut number: HashMap<Vec<u32>, u8> = HashMap::new();
        let mut kept = Vec::new();
        let new: Vec<u8> = (0..self.classes)
            .map(|class| {
                *number.entry(column(class)).or_insert_with(|| {
                    kept.push(class);
                    (kept.len() - 1) as u8
                })
            })
            .collect();
        let mut byte_class = self.byte_class;
        byte_class.iter_mut().for_each(|class| *class = new[*class as usize]);
        let rows = self.next.chunks_exact(self.classes);
        let next = rows.flat_map(|row| kept.iter().map(|class| row[*class])).collect();
        Self { byte_class, classes: kept.len(), next, accepting: self.accepting }
    }
}

/// Bytes with equal columns share a class.
fn byte_classes(rows: &[[u32; 256]]) -> (Box<[u8; 256]>, usize) {
    let mut class = Box::new([0u8; 256]);
    let mut count = 1usize;
    for row in rows {
        let mut number: HashMap<(u8, u32), usize> = HashMap::new();
        for byte in 0..256 {
            let fresh = number.len();
            let new = *number.entry((class[byte], row[byte])).or_insert(fresh);
            // There are 256 bytes, so there are no more classes.
            class[byte] = new as u8;
        }
        count = number.len();
    }
    (class, count)
}

impl Machine for All<'_> {
    type State = Vec<u32>;

    fn start(&self) -> Vec<u32> {
        vec![0; self.0.len()]
    }

    fn next(&self, state: &Vec<u32>, byte: u8) -> Option<Vec<u32>> {
        self.0.iter().zip(state).map(|(part, state)| part.next(*state, byte)).collect()
    }

    fn accepts(&self, state: &Vec<u32>) -> bool {
        self.0.iter().zip(state).all(|(part, state)| part.is_accepting(*state))
    }
}

impl Machine for Not<'_> {
    /// `None` is past any string that could be accepted.
    type State = Option<u32>;

    fn start(&self) -> Option<u32> {
        Some(0)
    }

    fn next(&self, state: &Option<u32>, byte: u8) -> Option<Option<u32>> {
        Some(state.and_then(|state| self.0.next(state, byte)))
    }

    fn accepts(&self, state: &Option<u32>) -> bool {
        state.is_none_or(|state| !self.0.is_accepting(state))
    }
}
