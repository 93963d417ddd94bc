//! The pass over the vocabulary: rows of V f32 logits, reduced without ever being sorted.
//!
//! [`reduce`] gives what a sampler wants of a row, [`class_summaries`] what a constraint wants, [`log_probabilities`] what a
//! likelihood wants. A [`Transform`] acts inside the pass. Draws are exact: the lanes reject, float64 decides.

mod classes;
mod exp64;
mod filter;
mod lanes;
mod likelihood;
mod nucleus;
mod race;
mod soft_cap;
mod stream;
mod summary;
mod sums;
#[cfg(test)]
mod tests;
mod top;
mod transform;
mod walk;

pub use classes::{ClassSummary, Classes, class_summaries};
pub use likelihood::log_probabilities;
pub use soft_cap::soft_cap_in_place;
pub use stream::stream;
pub use summary::{Request, Summary, reduce};
pub use transform::{Change, Ranked, Transform};
