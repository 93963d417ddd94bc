//! Metrics of generated text: how varied it is. How likely it is says a judge (`judge`); neither number means much without
//! the other.
//!
//! Each function takes the texts of one setting and is a pure function of them. Quote each number beside that of held-out
//! human text of the same number and length: all of them depend on both.

mod distinct;
mod entropy;
mod self_bleu;
mod words;

pub use distinct::Diversity;
pub use entropy::{mean_unigram_entropy, unigram_entropy};
pub use self_bleu::self_bleu;
pub use words::words;
