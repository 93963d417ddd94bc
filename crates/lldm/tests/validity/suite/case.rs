//! A case: what is demanded of a text, how the library is told, how an independent judge tells, and how short a text may be.

use lldm::control::Constraints;

use super::lengths::{Lengths, Part};

/// What a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Words that must stand in the text, with other demands.
    Keywords,
    /// A regular expression.
    Regexes,
    /// Text with gaps.
    Templates,
    /// JSON Schema.
    Schemas,
}

/// One demand.
pub(crate) struct Demand {
    /// What it is, in a line.
    pub(crate) what: String,
    /// Adds it to the constraints of a request.
    pub(crate) add: Box<dyn Fn(Constraints) -> Constraints + Send + Sync>,
    /// Whether a text meets it.
    pub(crate) judge: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// The same, byte by byte, where lengths are to be computed.
    pub(crate) part: Option<Box<dyn Part>>,
}

/// Demands that hold together.
pub(crate) struct Case {
    /// What it is about.
    pub(crate) kind: Kind,
    /// The demands.
    pub(crate) demands: Vec<Demand>,
    /// The fewest tokens of a text and the most.
    pub(crate) tokens: (usize, Option<usize>),
    /// Where a refusal is due, the place that it names.
    pub(crate) refused: Option<String>,
}

impl Kind {
    /// The name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keywords => "keywords",
            Self::Regexes => "regexes",
            Self::Templates => "templates",
            Self::Schemas => "schemas",
        }
    }
}

impl Case {
    /// Of these demands, with any number of tokens.
    pub(crate) fn new(kind: Kind, demands: Vec<Demand>) -> Self {
        Self { kind, demands, tokens: (0, None), refused: None }
    }

    /// What it is, in a line.
    pub(crate) fn what(&self) -> String {
        let demands: Vec<_> = self.demands.iter().map(|demand| demand.what.as_str()).collect();
        let tokens = match self.tokens {
            (0, None) => String::new(),
            (from, to) => format!(" and {from} to {to:?} tokens"),
        };
        format!("{}{tokens}", demands.join(" and "))
    }

    /// What the library is told.
    pub(crate) fn constraints(&self) -> Constraints {
        let all = self.demands.iter().fold(Constraints::new(), |all, demand| (demand.add)(all));
        match self.tokens {
            (0, None) => all,
            (from, to) => all.tokens(from, to),
        }
    }

    /// The first demand that a text of so many tokens does not meet.
    pub(crate) fn fault(&self, text: &str, tokens: usize) -> Option<String> {
        let (from, to) = self.tokens;
        if tokens < from || to.is_some_and(|to| tokens > to) {
            return Some(format!("{tokens} tokens"));
        }
        self.demands.iter().find(|demand| !(demand.judge)(text)).map(|demand| demand.what.clone())
    }

    /// The numbers of tokens that texts may have, where they can be computed without the library.
    pub(crate) fn lengths(&self, pieces: &[Vec<u8>], most: usize) -> Option<Lengths> {
        let parts: Option<Vec<_>> = self.demands.iter().map(|demand| demand.part.as_deref()).collect();
        Lengths::of(&parts?, pieces, self.tokens, most)
    }
}
