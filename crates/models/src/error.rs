//! What can go wrong between a file and a prediction.

use std::path::PathBuf;

use crate::device::Device;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model that cannot be found.
    #[error("there is no model `{name}`: {hint}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// What a model can be.
        hint: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{file}: {message}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// A tensor that the architecture needs is missing or has another shape.
    #[error(
        "tensor `{name}`: expected shape {expected:?}, found {found}; the weights do not belong to this config.json"
    )]
    Tensor {
        /// The tensor.
        name: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// The shape found, or `nothing`.
        found: String,
    },
    /// A device that cannot be had.
    #[error("cannot compute on {device}: {message}")]
    Device {
        /// The device.
        device: Device,
        /// Why, and what to do.
        message: String,
    },
    /// A failure of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A failure of the diffusion process.
    #[error(transparent)]
    Diffusion(#[from] lldm_diffusion::Error),
}

impl Error {
    /// A file whose content is wrong.
    pub fn format(file: impl ToString, message: impl ToString) -> Self {
        Self::Format { file: file.to_string(), message: message.to_string() }
    }
}

/// For the contracts of `lldm-diffusion`, which know no tensors.
pub(crate) fn into_diffusion(error: Error) -> lldm_diffusion::Error {
    match error {
        Error::Diffusion(error) => error,
        error => lldm_diffusion::Error::Model(Box::new(error)),
    }
}
