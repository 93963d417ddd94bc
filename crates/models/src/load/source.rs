//! What a model name can mean.

use std::sync::Arc;

use lldm_diffusion::{Denoiser, Noise};

use super::model_files::ModelFiles;
use super::stored_weights::StorageUse;
use super::{checkpoint, tokenizer::Tokenizer, toy};
use crate::device::Device;
use crate::error::Result;
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
    /// How its weights are stored; nothing for models without any.
    pub storage: Vec<StorageUse>,
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
/// folder with config.json, model.safetensors and tokenizer.json. The weights of a folder are mapped into memory: as long as the
/// model is in use, its file must not be written into (to put another in its place by renaming does no harm).
pub fn load(name: &str) -> Result<LoadedModel> {
    load_on(name, Device::Cpu)
}

/// The same, to compute on that device. The toy model is a table and has nothing to compute there.
pub fn load_on(name: &str, device: Device) -> Result<LoadedModel> {
    match name {
        "toy" => device.open().and_then(|_| toy::load()),
        _ => checkpoint::load(name, ModelFiles::open(name)?, device),
    }
}
