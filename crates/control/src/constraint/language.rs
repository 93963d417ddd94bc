//! What a constraint is to the engine, and several of them at once.

use crate::automaton::{ByteDfa, regex};
use crate::budget::{Budget, Meter};
use crate::error::Result;

/// A language of byte strings. By what `Debug` says of it, it is told from all others: a compiled one is found again by that.
pub trait Language: std::fmt::Debug {
    /// Its automaton.
    ///
    /// # Errors
    /// What is wrong with the constraint, that nothing satisfies it, or that it costs too much.
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa>;

    /// Its automaton, and the depth of nesting at which the language was cut to have one, if it was.
    ///
    /// # Errors
    /// As [`Language::automaton`].
    fn bounded(&self, meter: &Meter) -> Result<(ByteDfa, Option<u32>)> {
        Ok((self.automaton(meter)?, None))
    }
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
///
/// # Errors
/// As [`Language::automaton`].
pub fn compile(languages: &[&dyn Language], budget: Budget) -> Result<ByteDfa> {
    Ok(intersection(languages, &budget.meter())?.0)
}

/// The same within a compilation at work, and the smallest depth of nesting at which one of the languages was cut.
pub(crate) fn intersection(languages: &[&dyn Language], meter: &Meter) -> Result<(ByteDfa, Option<u32>)> {
    let mut all: Option<ByteDfa> = None;
    let mut depth: Option<u32> = None;
    for language in languages {
        let (one, cut) = language.bounded(meter)?;
        depth = depth.into_iter().chain(cut).min();
        // One by one, minimised between: what two of them exclude is never multiplied by a third.
        all = Some(match all {
            Some(before) => ByteDfa::all(&[before, one], meter)?,
            None => one,
        });
    }
    match all {
        Some(all) => Ok((all, depth)),
        None => Ok((regex("(?s-u:.*)", meter)?, None)),
    }
}
