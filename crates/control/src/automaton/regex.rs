//! Regular expressions, in the syntax of the crate `regex`, matched against the whole text.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::bytes::{ByteDfa, Machine};
use crate::budget::Meter;
use crate::error::{Error, Result};

/// The automaton of an expression that the whole text must match. Assertions on neighbours (`^`, `$`, `\b`) work as they do there.
///
/// # Errors
/// What is wrong with the expression, or the meter's.
pub fn regex(pattern: &str, meter: &Meter) -> Result<ByteDfa> {
    let bytes = meter.budget().bytes;
    let wrong = |error: &dyn std::fmt::Display| Error::Regex { pattern: pattern.to_string(), message: one_line(error) };
    let nfa = thompson::Compiler::new()
        // A text is valid UTF-8 as far as its tokens are; the expression is what decides.
        .syntax(syntax::Config::new().utf8(false))
        .configure(thompson::Config::new().utf8(false).nfa_size_limit(Some(bytes / 4)))
        .build(pattern)
        .map_err(|error| match error.size_limit() {
            Some(_) => Error::Bytes { limit: bytes },
            None => wrong(&source_of(&error)),
        })?;
    meter.check(1, 0)?;
    let config = dense::Config::new()
        // All ways of matching, not the first one alone: the whole text decides which it was.
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(bytes / 2))
        .determinize_size_limit(Some(bytes / 4));
    let dfa = dense::Builder::new().configure(config).build_from_nfa(&nfa).map_err(|error| {
        // The only other failure is a size beyond a limit, in states or in bytes.
        if error.to_string().contains("unsupported") { wrong(&error) } else { Error::Bytes { limit: bytes } }
    })?;
    let start = dfa.start_state_forward(&Input::new("").anchored(Anchored::Yes)).map_err(|error| wrong(&error))?;
    ByteDfa::explore(&Whole { dfa, start }, meter)
}

/// The expression as a machine.
struct Whole {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
}

impl Machine for Whole {
    type State = StateID;

    fn start(&self) -> StateID {
        self.start
    }

    fn next(&self, state: &StateID, byte: u8) -> Option<StateID> {
        let next = self.dfa.next_state(*state, byte);
        (!self.dfa.is_dead_state(next) && !self.dfa.is_quit_state(next)).then_some(next)
    }

    fn accepts(&self, state: &StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(*state))
    }
}

/// The innermost cause, which says what is wrong with the expression.
fn source_of(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The last line that says something: the parser draws a picture above it.
pub(crate) fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it cannot be read");
    last.trim().trim_start_matches("error: ").to_string()
}
