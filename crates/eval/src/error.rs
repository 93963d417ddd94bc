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
    /// A picture could not be drawn.
    #[error("the curve could not be drawn: {message}")]
    Plot {
        /// Why.
        message: String,
    },
}
