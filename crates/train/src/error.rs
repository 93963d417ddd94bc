//! What can go wrong in training.

use std::path::{Path, PathBuf};

use crate::data::DataError;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe that cannot be used.
    #[error("recipe {place}: {message}")]
    Recipe {
        /// The file, or the key.
        place: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run folder that cannot be used as asked.
    #[error("{folder}: {message}")]
    Run {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A loss or a gradient that is not a number.
    #[error("the {what} at step {step} is {value}: lower the learning rate, or resume from an earlier checkpoint")]
    Diverged {
        /// The step.
        step: usize,
        /// What is not finite.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// The data could not be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] lldm_models::Error),
    /// The tensor library failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// A file that failed.
    pub fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_path_buf(), source }
    }

    /// A recipe that cannot be used.
    pub fn recipe(place: impl ToString, message: impl ToString) -> Self {
        Self::Recipe { place: place.to_string(), message: message.to_string() }
    }
}
