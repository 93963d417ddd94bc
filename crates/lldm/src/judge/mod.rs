//! Judges: language models outside the compared set that say how likely a text is.
//!
//! A generative perplexity means something only where the judge is none of the models that are compared. The judge here,
//! [`KneserNey`], is trained in seconds from the same corpus and needs no download. Its numbers compare texts with held-out
//! human text over the same tokens; they are never absolute. Report them beside the diversity of the texts
//! (`metric`): a text that repeats the likeliest phrase pleases every judge.

mod discount;
mod error;
mod file;
mod kneser_ney;
mod level;
mod score;
mod train;

#[cfg(test)]
mod tests;

pub use discount::Discount;
pub use error::JudgeError;
pub use kneser_ney::{KneserNey, MAX_ORDER, MAX_VOCABULARY};
pub use score::Score;
