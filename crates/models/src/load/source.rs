//! What a model name can mean.

use std::path::Path;
use std::sync::Arc;

use lldm_diffusion::{Denoiser, Noise};

use super::{checkpoint, embedded, tokenizer::Tokenizer, toy};
use crate::error::{Error, Result};
use crate::nn::Precision;
use crate::registry::Defaults;
use crate::trunk::Trunk;

/// A model ready to run.
pub struct LoadedModel {
    /// The name that it was asked for by.
    pub name: String,
    /// The family (`model_type`).
    pub family: String,
    /// config.json as read.
    pub config: serde_json::Value,
    /// The number of parameters.
    pub parameters: usize,
    /// The network.
    pub denoiser: Box<dyn Denoiser>,
    /// The process that it was trained to reverse.
    pub noise: Box<dyn Noise>,
    /// The trunk behind it, for families that stand on one.
    pub trunk: Option<Arc<Trunk>>,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The settings that the checkpoint asks for.
    pub defaults: Defaults,
}

/// Loads `embedded` (the default model in the binary), `toy` (exact and tiny, for tests and demonstrations), or a
/// folder with config.json, model.safetensors and tokenizer.json.
pub fn load(name: &str) -> Result<LoadedModel> {
    match name {
        "embedded" => embedded::load(),
        "toy" => toy::load(),
        _ => {
            let folder = Path::new(name);
            if folder.is_dir() {
                return checkpoint::load_folder(name, folder, Precision::FrozenBf16);
            }
            let hint = if folder.exists() {
                format!("it is a file; name the folder that holds {}", checkpoint::CONFIG)
            } else {
                "a model is `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json"
                    .to_string()
            };
            Err(Error::NotFound { name: name.to_string(), hint })
        }
    }
}
