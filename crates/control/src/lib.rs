//! Constraints over whole texts, and exact inference under them.
//!
//! A constraint is a language of byte strings, a [`ByteDfa`]. Lifted to the tokens of a tokenizer it is a [`TokenAutomaton`], whose
//! tokens fall into classes that no state tells apart. [`Chain`] joins it with a canvas: given the probability of each class in
//! each cell, it computes exactly what the cells, independent otherwise, look like given that the text is accepted.

pub mod automaton;
pub mod budget;
pub mod cache;
pub mod chain;
pub mod constraint;
pub mod engine;
pub mod error;
pub mod guidance;

pub use automaton::{ByteDfa, Machine, TokenAutomaton, Vocabulary};
pub use budget::Budget;
pub use cache::Cache;
pub use chain::{Chain, Marginals, Path, Place, Row};
pub use engine::{Compiled, Constraints, Joint, round};
pub use error::{Error, Result};
pub use guidance::{ClassifierFree, PotentialKind, Scorer, Steering, SteeringConfig};
