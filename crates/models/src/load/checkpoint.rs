//! From a model's files to a denoiser.

use std::sync::Arc;

use serde_json::Value;

use lldm_diffusion::sampler::registry;

use super::model_files::{CONFIG, GENERATION_CONFIG, ModelFiles, TOKENIZER, WEIGHTS};
use super::stored_weights::StoredWeights;
use super::weights_file::WeightsFile;
use super::{LoadedModel, Tokenizer};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::registry::{Defaults, trunk_defaults};
use crate::trunk::{MODEL_TYPE, Trunk, TrunkConfig};
use crate::trunk_denoiser::TrunkDenoiser;

/// config.json.
pub(crate) struct Architecture {
    /// `model_type`.
    pub(crate) family: String,
    /// As read.
    pub(crate) json: Value,
    pub(crate) config: TrunkConfig,
}

/// Reads config.json.
pub(crate) fn architecture(files: &ModelFiles) -> Result<Architecture> {
    let place = files.place(CONFIG);
    let json: Value = parse(&files.config, &place)?;
    let family = json.get("model_type").and_then(Value::as_str).unwrap_or("nothing").to_string();
    if family != MODEL_TYPE {
        let message = format!("model_type is {family}, but only `{MODEL_TYPE}` can be loaded so far");
        return Err(Error::format(place, message));
    }
    let config = parse(&files.config, &place)?;
    Ok(Architecture { family, json, config })
}

/// Reads tokenizer.json.
pub(crate) fn tokenizer(files: &ModelFiles, architecture: &Architecture) -> Result<Tokenizer> {
    let place = files.place(TOKENIZER);
    let tokenizer = Tokenizer::from_bytes(&files.tokenizer, &place)?;
    tokenizer.check_vocabulary(architecture.config.vocab_size, &place)?;
    Ok(tokenizer)
}

/// Builds a model.
pub(super) fn load(name: &str, files: ModelFiles, device: Device) -> Result<LoadedModel> {
    let backend = device.open()?;
    let architecture = architecture(&files)?;
    let file = WeightsFile::read(files.weights.clone(), files.place(WEIGHTS))?;
    let mut weights = StoredWeights::new(file, backend);
    let trunk = Arc::new(Trunk::new(&architecture.config, &mut weights)?);
    let storage = weights.finish()?;
    let tokenizer = tokenizer(&files, &architecture)?;
    let Architecture { family, json, config } = architecture;
    let mut defaults = trunk_defaults(&config);
    if let Some(generation) = &files.generation {
        let place = files.place(GENERATION_CONFIG);
        let given: Defaults = parse(generation, &place)?;
        if let Some(sampler) = &given.sampler {
            registry::build(sampler, &given.sampler_parameters).map_err(|error| Error::format(place, error))?;
        }
        defaults = given.or(defaults);
    }
    Ok(LoadedModel {
        name: name.to_string(),
        family,
        config: json,
        parameters: storage.iter().map(|one| one.parameters).sum(),
        storage,
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
