//! The pass over the vocabulary: from V logits to the little that samplers and constraints need.

mod bound;
mod classes;
mod filter;
mod mixed;
mod race;
mod reduce;
mod row;

pub use bound::{BoundTerms, NoisedCell, bound_terms};
pub use classes::{ClassStat, class_stats};
pub use mixed::reduce_mixed;
pub use race::Draw;
pub use reduce::{log_probability, reduce};
