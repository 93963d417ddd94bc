//! What a constraint is to the engine, and several of them at once.

use crate::automaton::{ByteDfa, regex};
use crate::budget::{Budget, Meter};
use crate::error::Result;

/// A language of byte strings.
pub trait Language {
    /// Its automaton.
    ///
    /// # Errors
    /// What is wrong with the constraint, that nothing satisfies it, or that it costs too much.
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa>;
}

/// What an expression matches, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regex(pub String);

impl Language for Regex {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        regex(&self.0, meter)
    }
}

/// The texts that satisfy all of several constraints.
pub fn compile(languages: &[&dyn Language], budget: Budget) -> Result<ByteDfa> {
    let meter = budget.meter();
    let mut all: Option<ByteDfa> = None;
    for language in languages {
        let one = language.automaton(&meter)?;
        // One by one, minimised between: what two of them exclude is never multiplied by a third.
        all = Some(match all {
            Some(before) => ByteDfa::all(&[before, one], &meter)?,
            None => one,
        });
    }
    match all {
        Some(all) => Ok(all),
        None => regex("(?s-u:.*)", &meter),
    }
}
