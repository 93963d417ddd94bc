//! Checkpoints: a model folder that any loader of ours reads, with the state of the training beside it.
//!
//! A checkpoint is written under a temporary name and renamed, so that a killed run leaves whole ones only.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use lldm_models::TrunkConfig;
use lldm_models::load::{CONFIG, GENERATION_CONFIG, TOKENIZER, WEIGHTS};
use lldm_models::registry::Defaults;

use crate::error::{Error, Result};

const STATE: &str = "training.json";
const STATE_TENSORS: &str = "training.safetensors";
/// How many checkpoints are kept.
const KEEP: usize = 2;

/// Where a training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Updates made.
    pub step: usize,
    /// The pass over the data.
    pub epoch: u64,
    /// Batches taken in this pass.
    pub batch: usize,
    /// Tokens trained on.
    pub tokens: u64,
}

/// A checkpoint that was found.
pub struct Saved {
    /// Its folder.
    pub folder: PathBuf,
    /// Where the training stood.
    pub progress: Progress,
    /// The state of the training by name.
    pub state: HashMap<String, Tensor>,
}

/// The files that make a folder a model.
pub struct ModelFiles<'a> {
    /// config.json.
    pub config: &'a TrunkConfig,
    /// generation_config.json.
    pub generation: &'a Defaults,
    /// tokenizer.json, as it is.
    pub tokenizer: &'a [u8],
}

/// Writes a model folder atomically; tensors are stored as `dtype`.
pub fn write_model(
    folder: &Path,
    files: &ModelFiles<'_>,
    tensors: &HashMap<String, Tensor>,
    dtype: DType,
) -> Result<()> {
    atomically(folder, |temporary| write_files(temporary, files, tensors, dtype))
}

/// Writes checkpoint `progress.step` below `run` and removes older ones.
pub fn write(
    run: &Path,
    progress: Progress,
    files: &ModelFiles<'_>,
    averaged: &HashMap<String, Tensor>,
    state: &HashMap<String, Tensor>,
) -> Result<()> {
    let folder = folder(run, progress.step);
    atomically(&folder, |temporary| {
        write_files(temporary, files, averaged, DType::F32)?;
        candle_core::safetensors::save(state, temporary.join(STATE_TENSORS))?;
        write_json(&temporary.join(STATE), &progress)
    })?;
    let all = list(run)?;
    for (_, old) in &all[..all.len().saturating_sub(KEEP)] {
        fs::remove_dir_all(old).map_err(|source| Error::file(old, source))?;
    }
    Ok(())
}

/// The newest checkpoint below `run`.
pub fn latest(run: &Path) -> Result<Option<Saved>> {
    let Some((_, folder)) = list(run)?.pop() else { return Ok(None) };
    let path = folder.join(STATE);
    let text = fs::read(&path).map_err(|source| Error::file(&path, source))?;
    let progress = serde_json::from_slice(&text).map_err(|error| Error::file(&path, error.into()))?;
    let state = candle_core::safetensors::load(folder.join(STATE_TENSORS), &Device::Cpu)?;
    Ok(Some(Saved { folder, progress, state }))
}

/// Fails when the checkpoint in `folder` was made with another architecture than `config`.
pub fn check_config(folder: &Path, config: &TrunkConfig) -> Result<()> {
    let path = folder.join(CONFIG);
    let text = fs::read(&path).map_err(|source| Error::file(&path, source))?;
    let made: Value = serde_json::from_slice(&text).map_err(|error| Error::file(&path, error.into()))?;
    let asked = serde_json::to_value(config).map_err(|error| Error::file(&path, error.into()))?;
    let keys = [&made, &asked].into_iter().filter_map(Value::as_object).flat_map(|object| object.keys());
    let other = keys.into_iter().find(|key| made.get(key.as_str()) != asked.get(key.as_str()));
    let Some(key) = other else { return Ok(()) };
    let value = |json: &Value| json.get(key).unwrap_or(&Value::Null).to_string();
    let message = format!(
        "the recipe is not the one it was made by: {key} is {} in the checkpoint, {} by the recipe",
        value(&made),
        value(&asked)
    );
    Err(Error::Run { folder: folder.to_path_buf(), message })
}

/// The checkpoints below `run`, oldest first.
fn list(run: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let parent = run.join("checkpoints");
    let entries = match fs::read_dir(&parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file(&parent, source)),
    };
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let step = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
            Some((step, path))
        })
        .collect();
    found.sort();
    Ok(found)
}

fn folder(run: &Path, step: usize) -> PathBuf {
    run.join("checkpoints").join(format!("step-{step:07}"))
}

fn write_files(folder: &Path, files: &ModelFiles<'_>, tensors: &HashMap<String, Tensor>, dtype: DType) -> Result<()> {
    let stored = tensors.iter().map(|(name, tensor)| Ok((name.clone(), tensor.to_dtype(dtype)?)));
    candle_core::safetensors::save(&stored.collect::<Result<HashMap<_, _>>>()?, folder.join(WEIGHTS))?;
    write_json(&folder.join(CONFIG), files.config)?;
    write_json(&folder.join(GENERATION_CONFIG), files.generation)?;
    let path = folder.join(TOKENIZER);
    fs::write(&path, files.tokenizer).map_err(|source| Error::file(&path, source))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::file(path, error.into()))?;
    fs::write(path, text + "\n").map_err(|source| Error::file(path, source))
}

/// Fills a folder under a temporary name, then gives it its own, replacing an older one.
fn atomically(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = folder.with_extension("tmp");
    let fail = |source| Error::file(folder, source);
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(fail)?;
    }
    fs::create_dir_all(&temporary).map_err(fail)?;
    fill(&temporary)?;
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(fail)?;
    }
    fs::rename(&temporary, folder).map_err(fail)
}
