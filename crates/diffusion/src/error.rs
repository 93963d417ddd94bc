//! What can go wrong below the tensors.

use crate::canvas::Token;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the diffusion process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting has a value that the algorithm cannot use.
    #[error("{setting} is {found}, but {expected}")]
    Setting {
        /// The setting's name as the user writes it.
        setting: String,
        /// The value given.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A name that a registry does not hold.
    #[error("there is no {what} `{name}`; {hint}")]
    Unknown {
        /// What the registry holds.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The nearest names.
        hint: String,
    },
    /// A parameter that does not exist or has the wrong type.
    #[error("{what} `{name}`: {message}")]
    Parameters {
        /// What the registry holds.
        what: &'static str,
        /// The method.
        name: String,
        /// What is wrong, and what it takes.
        message: String,
    },
    /// Prefix and canvas together are longer than what the denoiser can see.
    #[error(
        "the prompt has {prefix} tokens and {canvas} more are asked for, but the model sees at most {limit}: \
         shorten the prompt or ask for fewer tokens"
    )]
    TooLong {
        /// Tokens in the prefix.
        prefix: usize,
        /// Cells asked for.
        canvas: usize,
        /// The model's limit.
        limit: usize,
    },
    /// A denoiser was asked for something that it cannot do.
    #[error("the denoiser {message}")]
    Denoiser {
        /// What it cannot do, and what would work.
        message: String,
    },
    /// A token outside of the vocabulary.
    #[error(
        "token {token} lies outside of the vocabulary of {vocabulary} entries: does the tokenizer belong to the model?"
    )]
    Vocabulary {
        /// The token.
        token: Token,
        /// The size of the vocabulary.
        vocabulary: usize,
    },
    /// A constraint that no text of this length fulfils.
    #[error("the constraint cannot be met: {message}")]
    Infeasible {
        /// Why, and what would make it possible.
        message: String,
    },
    /// Particles that cannot go on.
    #[error("the particles {message}")]
    Particles {
        /// What became of them, and what would help.
        message: String,
    },
    /// A part broke its contract; a defect of that part.
    #[error("contract broken: {message}")]
    Contract {
        /// Which part did what.
        message: String,
    },
    /// The network behind a denoiser failed.
    #[error("{0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A setting that cannot be used: its name, the value found, what was expected.
    pub fn setting(setting: &str, found: impl ToString, expected: impl ToString) -> Self {
        Self::Setting { setting: setting.to_string(), found: found.to_string(), expected: expected.to_string() }
    }
}
