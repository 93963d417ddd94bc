//! What can go wrong in an evaluation.

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model or the judge failed.
    #[error(transparent)]
    Lldm(#[from] lldm::Error),
    /// The judge failed.
    #[error(transparent)]
    Judge(#[from] lldm::judge::JudgeError),
    /// Two models that are to be compared have not the same tokens.
    #[error(
        "{one} and {other} have different tokenizers, so neither tokens per second nor perplexities compare: name two models \
         with the same tokenizer.json"
    )]
    Tokenizers {
        /// The one model.
        one: String,
        /// The other.
        other: String,
    },
    /// The same seed gave two texts.
    #[error("{model} wrote another text under seed {seed} in round {round} than in round 1: please report it")]
    Unsteady {
        /// The model.
        model: String,
        /// The seed.
        seed: u64,
        /// The round.
        round: usize,
    },
    /// A count is 0.
    #[error("there are 0 {what}, but at least 1 is needed")]
    Nothing {
        /// Of what there are none.
        what: &'static str,
    },
    /// A picture could not be drawn.
    #[error("the curve could not be drawn: {message}")]
    Plot {
        /// Why.
        message: String,
    },
}
