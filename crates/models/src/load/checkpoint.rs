//! A checkpoint folder: config.json, model.safetensors, tokenizer.json and, if present, generation_config.json.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;

use lldm_diffusion::sampler::registry;

use super::{LoadedModel, Tokenizer};
use crate::error::{Error, Result};
use crate::nn::{Loaded, Precision};
use crate::registry::{Defaults, trunk_defaults};
use crate::trunk::{MODEL_TYPE, Trunk, TrunkConfig};
use crate::trunk_denoiser::TrunkDenoiser;

/// The architecture's file.
pub const CONFIG: &str = "config.json";
/// The weights' file.
pub const WEIGHTS: &str = "model.safetensors";
/// The tokenizer's file.
pub const TOKENIZER: &str = "tokenizer.json";
/// The sampling settings' file.
pub const GENERATION_CONFIG: &str = "generation_config.json";

/// The four files' contents.
pub(super) struct Files<'a> {
    pub(super) config: &'a [u8],
    pub(super) weights: &'a [u8],
    pub(super) tokenizer: &'a [u8],
    pub(super) generation: Option<&'a [u8]>,
}

/// Loads a folder; errors name its files.
pub(super) fn load_folder(name: &str, folder: &Path, precision: Precision) -> Result<LoadedModel> {
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => Error::format(
                path.display(),
                format!("is missing: a model folder holds {CONFIG}, {WEIGHTS} and {TOKENIZER}"),
            ),
            _ => Error::Read { path, source },
        })
    };
    let (config, weights, tokenizer) = (read(CONFIG)?, read(WEIGHTS)?, read(TOKENIZER)?);
    let generation = folder.join(GENERATION_CONFIG).exists().then(|| read(GENERATION_CONFIG)).transpose()?;
    let files = Files { config: &config, weights: &weights, tokenizer: &tokenizer, generation: generation.as_deref() };
    load_files(name, &files, &|file| folder.join(file).display().to_string(), precision)
}

/// Builds a model from its files' contents; `place` names a file in errors.
pub(super) fn load_files(
    name: &str,
    files: &Files<'_>,
    place: &dyn Fn(&str) -> String,
    precision: Precision,
) -> Result<LoadedModel> {
    let json: Value = parse(files.config, &place(CONFIG))?;
    let family = json.get("model_type").and_then(Value::as_str).unwrap_or("nothing").to_string();
    if family != MODEL_TYPE {
        let message = format!("model_type is {family}, but only `{MODEL_TYPE}` can be loaded so far");
        return Err(Error::format(place(CONFIG), message));
    }
    let config: TrunkConfig = parse(files.config, &place(CONFIG))?;
    let tensors = candle_core::safetensors::load_buffer(files.weights, &Device::Cpu).map_err(|error| {
        Error::format(place(WEIGHTS), format!("not a whole safetensors file ({error}); get it again"))
    })?;
    let parameters = tensors.values().map(candle_core::Tensor::elem_count).sum();
    let mut weights = Loaded::new(place(WEIGHTS), tensors, precision);
    let trunk = Arc::new(Trunk::new(&config, &mut weights)?);
    weights.finish()?;
    let tokenizer = Tokenizer::from_bytes(files.tokenizer, &place(TOKENIZER))?;
    tokenizer.check_vocabulary(config.vocab_size, &place(TOKENIZER))?;
    let mut defaults = trunk_defaults(&config);
    if let Some(generation) = files.generation {
        let given: Defaults = parse(generation, &place(GENERATION_CONFIG))?;
        if let Some(sampler) = &given.sampler {
            registry::build(sampler, &given.sampler_parameters)
                .map_err(|error| Error::format(place(GENERATION_CONFIG), error))?;
        }
        defaults = given.or(defaults);
    }
    Ok(LoadedModel {
        name: name.to_string(),
        family,
        config: json,
        parameters,
        noise: config.noise.build(config.space())?,
        denoiser: Box::new(TrunkDenoiser::new(Arc::clone(&trunk))),
        trunk: Some(trunk),
        tokenizer,
        defaults,
    })
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], file: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::format(file, format!("{error}; correct it or get it again")))
}
