//! Text of which parts are kept to the byte and others are written anew.

use super::keywords::Case;
use super::language::Language;
use super::literal::literal;
use crate::automaton::{ByteDfa, regex};
use crate::budget::Meter;
use crate::error::Result;

/// A text in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infill(pub Vec<Piece>);

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// It stays as it is.
    Kept(String),
    /// It is written anew, and matches this expression.
    Gap(String),
}

impl Language for Infill {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        // An expression that is wrong by itself must not become right by its neighbours.
        for piece in &self.0 {
            if let Piece::Gap(expression) = piece {
                regex(expression, meter)?;
            }
        }
        let part = |piece: &Piece| match piece {
            Piece::Kept(text) if text.is_empty() => String::new(),
            Piece::Kept(text) => literal(text, Case::Exact),
            Piece::Gap(expression) => format!("(?:{expression})"),
        };
        regex(&self.0.iter().map(part).collect::<String>(), meter)
    }
}
