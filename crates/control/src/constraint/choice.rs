//! One of several texts.

use super::keywords::Case;
use super::language::Language;
use super::literal::literal;
use crate::automaton::{ByteDfa, regex};
use crate::budget::Meter;
use crate::error::{Error, Result};

/// The text is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice(pub Vec<String>);

impl Language for Choice {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        if self.0.is_empty() {
            return Err(Error::Empty { message: "there is nothing to choose from".to_string() });
        }
        let texts: Vec<_> = self.0.iter().map(|text| literal(text, Case::Exact)).collect();
        regex(&texts.join("|"), meter)
    }
}
