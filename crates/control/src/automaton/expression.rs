//! Expressions over bytes whose parts may be automata themselves: what grammars and schemas are compiled by.
//!
//! An expression becomes a nondeterministic automaton (Thompson 1968) with the tables of its parts embedded, which is then explored
//! as a machine whose states are sets (Rabin and Scott 1959).

use std::collections::HashSet;
use std::sync::Arc;

use super::bytes::{ByteDfa, Machine};
use crate::budget::Meter;
use crate::error::Result;

/// A language over bytes.
#[derive(Clone, Debug)]
pub enum Expression {
    /// One byte of these.
    Bytes(ByteSet),
    /// One after the other; the empty string where there is none.
    Sequence(Vec<Expression>),
    /// One of these; nothing at all where there is none.
    Choice(Vec<Expression>),
    /// From so many to so many times; without an end where there is no `to`.
    Repeat {
        /// What.
        part: Box<Expression>,
        /// At least.
        from: u32,
        /// At most.
        to: Option<u32>,
    },
    /// What an automaton accepts.
    Automaton(Arc<ByteDfa>),
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// These bytes.
    pub fn of(bytes: impl IntoIterator<Item = u8>) -> Self {
        let mut set = [0u64; 4];
        bytes.into_iter().for_each(|byte| set[byte as usize / 64] |= 1 << (byte % 64));
        Self(set)
    }

    /// Whether a byte is among them.
    pub fn contains(&self, byte: u8) -> bool {
        self.0[byte as usize / 64] >> (byte % 64) & 1 == 1
    }
}

impl Expression {
    /// Exactly this text.
    pub fn text(text: &str) -> Self {
        Self::Sequence(text.bytes().map(|byte| Self::Bytes(ByteSet::of([byte]))).collect())
    }

    /// The empty string.
    pub fn nothing() -> Self {
        Self::Sequence(Vec::new())
    }

    /// No string at all.
    pub fn never() -> Self {
        Self::Choice(Vec::new())
    }

    /// This, or the empty string.
    pub fn optional(self) -> Self {
        self.repeated(0, Some(1))
    }

    /// This from so many to so many times.
    pub fn repeated(self, from: u32, to: Option<u32>) -> Self {
        Self::Repeat { part: Box::new(self), from, to }
    }

    /// This, then the other.
    pub fn then(self, next: Self) -> Self {
        Self::Sequence(vec![self, next])
    }

    /// The automaton.
    ///
    /// # Errors
    /// [`crate::Error::Empty`] where it is no string at all, and the meter's.
    pub fn compile(&self, meter: &Meter) -> Result<ByteDfa> {
        let mut sets = Sets::default();
        let end = sets.state(Step::End);
        let start = sets.add(self, end, meter)?;
        sets.start = sets.closed(vec![start]);
        ByteDfa::explore(&sets, meter)
    }
}

/// What a state of the nondeterministic automaton does.
#[derive(Clone, Debug)]
enum Step {
    /// The text may end.
    End,
    /// On to all of these without a byte.
    Fork(Vec<u32>),
    /// A byte of the set leads on.
    Byte(ByteSet, u32),
    /// Within an embedded automaton, in this state of it; behind its acceptance it goes on.
    Inside { automaton: Arc<ByteDfa>, base: u32, state: u32, next: u32 },
}

/// The nondeterministic automaton, as a machine over sets of its states.
#[derive(Default)]
struct Sets {
    steps: Vec<Step>,
    start: Vec<u32>,
}

impl Sets {
    fn state(&mut self, step: Step) -> u32 {
        self.steps.push(step);
        self.steps.len() as u32 - 1
    }

    /// Adds an expression in front of `next`; its first state.
    fn add(&mut self, expression: &Expression, next: u32, meter: &Meter) -> Result<u32> {
        // A state of this automaton is small beside one of the table that comes of it.
        meter.check(self.steps.len() / 8, size_of::<Step>() * 8)?;
        Ok(match expression {
            Expression::Bytes(set) => self.state(Step::Byte(*set, next)),
            Expression::Sequence(parts) => {
                let mut next = next;
                for part in parts.iter().rev() {
                    next = self.add(part, next, meter)?;
                }
                next
            }
            Expression::Choice(parts) => {
                let starts: Result<Vec<_>> = parts.iter().map(|part| self.add(part, next, meter)).collect();
                self.state(Step::Fork(starts?))
            }
            Expression::Repeat { part, from, to } => {
                let mut after = match to {
                    // A loop: the part leads back to its own fork.
                    None => {
                        let fork = self.state(Step::Fork(Vec::new()));
                        let again = self.add(part, fork, meter)?;
                        self.steps[fork as usize] = Step::Fork(vec![again, next]);
                        fork
                    }
                    Some(to) => {
                        let mut after = next;
                        for _ in *from..*to {
                            let once = self.add(part, after, meter)?;
                            after = self.state(Step::Fork(vec![once, next]));
                        }
                        after
                    }
                };
                for _ in 0..*from {
                    after = self.add(part, after, meter)?;
                }
                after
            }
            Expression::Automaton(automaton) => {
                let base = self.steps.len() as u32;
                for state in 0..automaton.states() as u32 {
                    self.steps.push(Step::Inside { automaton: Arc::clone(automaton), base, state, next });
                }
                base
            }
        })
    }

    /// All states that can be reached without a byte, sorted; forks are left out once they are followed.
    fn closed(&self, mut open: Vec<u32>) -> Vec<u32> {
        let mut seen = HashSet::new();
        let mut set = Vec::new();
        while let Some(state) = open.pop() {
            if !seen.insert(state) {
                continue;
            }
            match &self.steps[state as usize] {
                Step::Fork(to) => open.extend(to),
                Step::Inside { automaton, state: inner, next, .. } => {
                    set.push(state);
                    if automaton.is_accepting(*inner) {
                        open.push(*next);
                    }
                }
                Step::End | Step::Byte(..) => set.push(state),
            }
        }
        set.sort_unstable();
        set
    }
}

impl Machine for Sets {
    type State = Vec<u32>;

    fn start(&self) -> Vec<u32> {
        self.start.clone()
    }

    fn next(&self, set: &Vec<u32>, byte: u8) -> Option<Vec<u32>> {
        let moved = |state: &u32| match &self.steps[*state as usize] {
            Step::Byte(bytes, next) => bytes.contains(byte).then_some(*next),
            Step::Inside { automaton, base, state, .. } => automaton.next(*state, byte).map(|to| base + to),
            Step::End | Step::Fork(_) => None,
        };
        let moved: Vec<u32> = set.iter().filter_map(moved).collect();
        (!moved.is_empty()).then(|| self.closed(moved))
    }

    fn accepts(&self, set: &Vec<u32>) -> bool {
        set.iter().any(|state| matches!(self.steps[*state as usize], Step::End))
    }
}
