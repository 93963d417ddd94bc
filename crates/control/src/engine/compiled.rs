//! A constraint that is ready for a tokenizer: an automaton over its tokens.

use std::sync::Arc;
use std::time::Duration;

use lldm_diffusion::{Constraint, ConstraintRun, Guarantee, Token};

use super::constraints::Joint;
use super::run::Run;
use crate::automaton::TokenAutomaton;
use crate::cache::{Built, Origin};
use crate::error::Error;

/// A constraint compiled for a tokenizer.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub(super) built: Arc<Built>,
    pub(super) origin: Origin,
    pub(super) joint: Joint,
    pub(super) end: Vec<Token>,
    pub(super) lengths: Lengths,
    /// Whether each cell is drawn by itself.
    pub(super) alone: bool,
}

/// What a constraint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// States of the automaton over bytes.
    pub byte_states: usize,
    /// States of the automaton over tokens.
    pub states: usize,
    /// Classes of tokens, that of the end tokens and that of those which no text holds among them.
    pub classes: usize,
    /// The time to compile the automaton over bytes.
    pub bytes: Duration,
    /// The time to lift it to tokens.
    pub lift: Duration,
    /// Where it came from; the times are those of its compilation, whenever that was.
    pub origin: Origin,
}

/// How many tokens a text may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) fewest: usize,
    pub(super) most: usize,
}

impl Compiled {
    /// The automaton over tokens.
    pub fn automaton(&self) -> &Arc<TokenAutomaton> {
        &self.built.automaton
    }

    /// What it came to.
    pub fn figures(&self) -> Figures {
        let Built { automaton, byte_states, bytes, lift, .. } = self.built.as_ref();
        Figures {
            byte_states: *byte_states,
            states: automaton.states(),
            classes: automaton.classes(),
            bytes: *bytes,
            lift: *lift,
            origin: self.origin,
        }
    }

    /// The tokens that end a text.
    pub fn end(&self) -> &[Token] {
        &self.end
    }

    /// The fewest tokens of a text.
    pub fn fewest_tokens(&self) -> usize {
        self.built.automaton.distance(0).max(self.lengths.fewest)
    }

    /// Whether a text is accepted; the number of its tokens is not asked for.
    pub fn accepts(&self, text: &str) -> bool {
        self.built.text.accepts(text.as_bytes())
    }

    /// The part of what was written behind a prompt that the constraint speaks of: without the space of the joint.
    pub fn text_of<'a>(&self, written: &'a str) -> &'a str {
        match (self.joint, written.strip_prefix(' ')) {
            (Joint::Optional, Some(rest)) if self.accepts(rest) => rest,
            _ => written,
        }
    }

    pub(super) fn lengths(&self) -> Lengths {
        self.lengths
    }

    pub(super) fn draws_alone(&self) -> bool {
        self.alone
    }
}

impl Constraint for Compiled {
    fn guarantee(&self) -> Guarantee {
        match self.built.depth {
            _ if self.alone => Guarantee::BestEffort,
            None => Guarantee::Exact,
            Some(depth) => Guarantee::ExactBoundedDepth(depth),
        }
    }

    fn class_of(&self) -> &[u16] {
        self.built.automaton.class_of()
    }

    fn classes(&self) -> usize {
        self.built.automaton.classes()
    }

    fn start(&self, budget: usize) -> lldm_diffusion::Result<Box<dyn ConstraintRun>> {
        let needed = self.fewest_tokens();
        if needed > budget {
            return Err(infeasible(&Error::TooLong { needed, room: budget }));
        }
        Ok(Box::new(Run::new(Arc::new(self.clone()), budget)))
    }
}

pub(super) fn infeasible(error: &Error) -> lldm_diffusion::Error {
    lldm_diffusion::Error::Infeasible { message: error.to_string() }
}
