//! Automata: over bytes, as constraints are written, and over tokens, as a model writes.

mod bytes;
mod expression;
mod lift;
mod minimise;
mod regex;
mod tokens;
mod vocabulary;

pub use bytes::{All, ByteDfa, Machine, Not};
pub use expression::{ByteSet, Expression};
pub use lift::lift;
pub(crate) use regex::one_line;
pub use regex::regex;
pub use tokens::{TokenAutomaton, TokenEdges};
pub use vocabulary::Vocabulary;
