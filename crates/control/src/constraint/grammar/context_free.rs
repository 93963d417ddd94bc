//! A context-free grammar as a language: exactly where its recursion is mere repetition, else to a bounded depth of nesting.
//!
//! A level of depth is taken where a rule is entered again with text on both sides of it, as a value is within an array; lists and
//! chains of operators take none (see `recursion`). The texts are those with a derivation that takes at most so many levels on each
//! way down. Ambiguity does no harm: a text counts once.

use lldm_diffusion::Guarantee;

use super::expand::Expander;
use super::syntax::{Definition, Item};
use super::{gbnf, lark};
use crate::automaton::ByteDfa;
use crate::budget::{Budget, Meter};
use crate::constraint::Language;
use crate::error::{Error, Result};

/// Levels within one another, where nothing else is said.
const DEPTH: u32 = 4;

/// The text is one that this grammar derives.
#[derive(Clone, Debug, PartialEq)]
pub struct Grammar {
    /// The most levels within one another.
    pub depth: u32,
    pub(super) definitions: Vec<Definition>,
    pub(super) start: usize,
    pub(super) ignored: Vec<Item>,
}

/// A place where a level of depth is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The rule.
    pub rule: String,
    /// The rule that is entered within it.
    pub inner: String,
    /// The how-manieth name it is in the rule, from 0.
    pub ordinal: usize,
    /// The line of the grammar.
    pub line: usize,
}

impl Grammar {
    /// Reads a grammar in the form of Lark.
    ///
    /// # Errors
    /// [`Error::Grammar`], with the line.
    pub fn lark(text: &str) -> Result<Self> {
        let (definitions, start, ignored) = lark::read(text)?;
        Ok(Self { depth: DEPTH, definitions, start, ignored })
    }

    /// Reads a grammar in GBNF.
    ///
    /// # Errors
    /// [`Error::Grammar`], with the line.
    pub fn gbnf(text: &str) -> Result<Self> {
        let (definitions, start) = gbnf::read(text)?;
        Ok(Self { depth: DEPTH, definitions, start, ignored: Vec::new() })
    }

    /// The same to another depth.
    pub fn with_depth(self, depth: u32) -> Self {
        Self { depth, ..self }
    }

    /// The automaton, and what it promises: all that the grammar derives, or what it derives to its depth.
    ///
    /// # Errors
    /// [`Error::Empty`] where it derives no text; [`Error::Depth`] where the automaton costs too much, with the depth that fits, if
    /// one was found in the time that was left; the meter's where the depth has no part in it.
    pub fn compile(&self, meter: &Meter) -> Result<(ByteDfa, Guarantee)> {
        // A tenth of the time is kept for finding a depth that fits.
        let most = Budget { time: meter.left() * 9 / 10, ..meter.budget() }.meter();
        let told = |error: Error| match error {
            Error::Time { .. } => Error::Time { limit: meter.budget().time },
            error => error,
        };
        let mut expander = self.expander(&most).map_err(told)?;
        if !expander.is_cut() {
            let automaton = expander.automaton(0, meter).map_err(|error| no_text(error, None))?;
            return Ok((automaton, Guarantee::Exact));
        }
        let cause = match expander.automaton(self.depth, &most) {
            Ok(automaton) => return Ok((automaton, Guarantee::ExactBoundedDepth(self.depth))),
            Err(error @ Error::Empty { .. }) => return Err(no_text(error, Some(self.depth))),
            Err(cause) => cause,
        };
        let fits = expander.fitting(self.depth, meter);
        Err(Error::Depth { depth: self.depth, cause: Box::new(told(cause)), fits })
    }

    /// The places where levels of depth are taken; none where the grammar is a regular language as it stands.
    ///
    /// # Errors
    /// Those of the terminals, and the meter's.
    pub fn levels(&self, meter: &Meter) -> Result<Vec<Level>> {
        let expander = self.expander(meter)?;
        let mut levels = Vec::new();
        for (definition, fragment) in self.definitions.iter().zip(&expander.fragments) {
            let calls = fragment.calls().filter(|(_, call)| call.deeper).map(|(_, call)| call.reference);
            levels.extend(calls.map(|reference| Level {
                rule: definition.name.clone(),
                inner: self.definitions[reference.definition].name.clone(),
                ordinal: reference.ordinal,
                line: reference.line,
            }));
        }
        levels.sort_by_key(|level| (level.line, level.rule.clone(), level.ordinal));
        levels.dedup();
        Ok(levels)
    }

    fn expander(&self, meter: &Meter) -> Result<Expander> {
        Expander::new(&self.definitions, self.start, &self.ignored, meter)
    }
}

impl Language for Grammar {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        Ok(self.compile(meter)?.0)
    }

    fn bounded(&self, meter: &Meter) -> Result<(ByteDfa, Option<u32>)> {
        let (automaton, guarantee) = self.compile(meter)?;
        let depth = match guarantee {
            Guarantee::ExactBoundedDepth(depth) => Some(depth),
            Guarantee::Exact | Guarantee::Verified | Guarantee::BestEffort => None,
        };
        Ok((automaton, depth))
    }
}

fn no_text(error: Error, depth: Option<u32>) -> Error {
    match (error, depth) {
        (Error::Empty { .. }, None) => Error::Empty { message: "the grammar derives none".to_string() },
        (Error::Empty { .. }, Some(depth)) => {
            Error::Empty { message: format!("the grammar derives none to depth {depth}: allow more") }
        }
        (error, _) => error,
    }
}
