//! The default model, which the binary carries.

use super::LoadedModel;
use super::checkpoint::{Files, load_files};
use crate::error::Result;
use crate::nn::Precision;

/// Loads it.
pub(super) fn load() -> Result<LoadedModel> {
    let files = Files {
        config: lldm_assets::CONFIG,
        weights: lldm_assets::WEIGHTS,
        tokenizer: lldm_assets::TOKENIZER,
        generation: Some(lldm_assets::GENERATION_CONFIG),
    };
    load_files("embedded", &files, &|file| format!("embedded {file}"), Precision::FrozenBf16)
}
