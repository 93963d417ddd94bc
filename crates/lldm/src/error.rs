//! What can go wrong between a prompt and a text.

use crate::judge::JudgeError;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the facade.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process failed.
    #[error(transparent)]
    Diffusion(#[from] lldm_diffusion::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] lldm_models::Error),
    /// A constraint that cannot be used.
    #[error(transparent)]
    Constraint(#[from] lldm_control::Error),
    /// The judge failed.
    #[error(transparent)]
    Judge(#[from] JudgeError),
    /// A prompt that does not fit the model.
    #[error("{message}")]
    Prompt {
        /// What is wrong, and what to do.
        message: String,
    },
}
