//! What can go wrong between a constraint and its automaton.

use std::time::Duration;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of compiling or applying a constraint.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A regular expression that cannot be read.
    #[error("`{pattern}` is no regular expression that can be used: {message}")]
    Regex {
        /// The expression.
        pattern: String,
        /// What is wrong with it, in one line.
        message: String,
    },
    /// A template that cannot be read.
    #[error("the template `{template}` cannot be used: {message}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong with it, in one line.
        message: String,
    },
    /// A schema that cannot be used.
    #[error("the schema cannot be used at {place}: {message}")]
    Schema {
        /// The place, as a JSON pointer behind a `#`.
        place: String,
        /// What is wrong there, in one line.
        message: String,
    },
    /// A grammar that cannot be read.
    #[error("line {line} of the grammar cannot be used: {message}")]
    Grammar {
        /// The line.
        line: usize,
        /// What is wrong there, in one line.
        message: String,
    },
    /// What the verifier cannot do.
    #[error("the verifier of the grammar fails: {message}")]
    Verifier {
        /// Why, in one line.
        message: String,
    },
    /// There is no such grammar.
    #[error("there is no grammar `{name}`: {advice}")]
    NoGrammar {
        /// What was asked for.
        name: String,
        /// What there is.
        advice: String,
    },
    /// A grammar that costs too much at its depth.
    #[error("nested to depth {depth}, {cause}{}", fits.map_or(String::new(), |fits| format!("; depth {fits} fits")))]
    Depth {
        /// The depth.
        depth: u32,
        /// What it costs.
        cause: Box<Error>,
        /// The greatest depth that was found to fit in the time that was left.
        fits: Option<u32>,
    },
    /// More states than allowed.
    #[error("the constraint needs more than {limit} states: make it simpler, or allow more")]
    States {
        /// The most allowed.
        limit: usize,
    },
    /// More memory than allowed.
    #[error("the constraint needs more than {limit} bytes of memory: make it simpler, or allow more")]
    Bytes {
        /// The most allowed.
        limit: usize,
    },
    /// More time than allowed.
    #[error("the constraint could not be compiled within {} s: make it simpler, or allow more", limit.as_secs_f64())]
    Time {
        /// The most allowed.
        limit: Duration,
    },
    /// More classes of tokens than a class number can tell.
    #[error("the constraint tells more than {limit} kinds of tokens apart: make it simpler")]
    Classes {
        /// The most that can be told.
        limit: usize,
    },
    /// A language without any text.
    #[error("no text satisfies the constraint: {message}")]
    Empty {
        /// Why, as far as it is known.
        message: String,
    },
    /// No text of the language fits.
    #[error(
        "the shortest text that satisfies the constraint has {needed} tokens, but there is room for {room}: allow more tokens"
    )]
    TooLong {
        /// Tokens of the shortest text.
        needed: usize,
        /// Tokens that fit.
        room: usize,
    },
}
