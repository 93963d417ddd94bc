//! The default model of lldm as bytes: what `lldm run` loads when no model is named. Its card is `model/README.md`.

/// config.json: the architecture.
pub const CONFIG: &[u8] = include_bytes!("../model/config.json");
/// model.safetensors: the weights in bf16.
pub const WEIGHTS: &[u8] = include_bytes!("../model/model.safetensors");
/// tokenizer.json: a byte-level BPE.
pub const TOKENIZER: &[u8] = include_bytes!("../model/tokenizer.json");
/// generation_config.json: how the model is to be sampled.
pub const GENERATION_CONFIG: &[u8] = include_bytes!("../model/generation_config.json");
/// The model card: data, licences, measured numbers, samples.
pub const CARD: &str = include_str!("../model/README.md");
