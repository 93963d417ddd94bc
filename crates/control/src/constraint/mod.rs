//! Constraints as users write them: each is a language of byte strings.

mod choice;
mod counts;
mod grammar;
mod infill;
mod json;
mod keywords;
mod language;
mod literal;
mod template;

pub use choice::Choice;
pub use counts::{Sentences, Words};
pub use grammar::{Grammar, Level, SHIPPED, Shipped, shipped};
#[cfg(feature = "verifier")]
pub use grammar::{Prefix, Verifier};
pub use infill::{Infill, Piece};
pub use json::JsonSchema;
pub use keywords::{Banned, Case, EndsWith, Keywords, Match, Order, StartsWith};
pub(crate) use language::intersection;
pub use language::{Language, Regex, compile};
pub use template::Template;
