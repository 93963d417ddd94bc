//! Automata: over bytes, as constraints are written, and over tokens, as a model writes.

mod bytes;
mod expression;
mod flow;
mod lift;
mod minimise;
mod regex;
mod stored;
mod synthetic;
mod tokens;
mod vocabulary;

pub use bytes::{All, ByteDfa, Machine, Not};
pub use expression::{ByteSet, Expression};
pub(crate) use flow::{Edge, Flow};
pub use lift::lift;
pub(crate) use regex::one_line;
pub use regex::regex;
pub(crate) use stored::Reader;
pub use synthetic::synthetic_tokens;
pub use tokens::{TokenAutomaton, TokenEdges};
pub use vocabulary::Vocabulary;
