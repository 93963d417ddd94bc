//! A small model with random weights, in a folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_kernels::QuantFormat;
use lldm_models::convert::{ConvertConfig, Report, Target, convert};
use lldm_models::load::{CONFIG, TOKENIZER, WEIGHTS};
use lldm_models::nn::{Init, Visibility, Weights, ggml_type};
use lldm_models::{Answers, Attention, LoadedModel, NoiseConfig, Trunk, TrunkConfig, load};
use tempfile::TempDir;
use tokenizers::models::wordlevel::WordLevel;

/// Not a multiple of a panel's columns.
pub(crate) const VOCABULARY: usize = 300;
pub(crate) const WIDTH: usize = 256;

/// Uniform weights that depend on the parameter's name alone, and are kept.
#[derive(Default)]
pub(crate) struct Random(pub(crate) HashMap<String, Tensor>);

impl Weights for Random {
    fn get(&mut self, name: &str, shape: &[usize], _: Init) -> lldm_models::Result<Tensor> {
        let tensor = random(name.bytes().fold(7, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte)), shape);
        self.0.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }
}

/// Of a spread that keeps the size of vectors; around 1 for norms.
pub(crate) fn random(seed: u64, shape: &[usize]) -> Tensor {
    let rng = Rng::new(seed, 0).at(0, 0);
    let (centre, reach) = match shape {
        [VOCABULARY, _] => (0.0, 0.3),
        [_, input] => (0.0, 3.0 / (*input as f64).sqrt()),
        _ => (1.0, 0.4),
    };
    let draw = |at: usize| (centre + reach * (2.0 * rng.uniform(at, Purpose::Token) - 1.0)) as f32;
    Tensor::from_vec((0..shape.iter().product()).map(draw).collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

pub(crate) fn config() -> TrunkConfig {
    TrunkConfig {
        model_type: lldm_models::trunk::MODEL_TYPE.to_string(),
        vocab_size: VOCABULARY,
        hidden_size: WIDTH,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        intermediate_size: 512,
        max_position_embeddings: 32,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        attention: Attention::Full,
        block_length: None,
        time_input: false,
        mask_token_id: 0,
        eos_token_id: 1,
        pad_token_id: 2,
        bos_token_id: None,
        noise: NoiseConfig::default(),
        answers: Answers::Clean,
    }
}

/// The parameters in f32.
pub(crate) fn parameters(config: &TrunkConfig) -> HashMap<String, Tensor> {
    let mut random = Random::default();
    Trunk::new(config, &mut random).unwrap();
    random.0
}

/// A folder that holds the model in `source`, stored as that type.
pub(crate) fn place(config: &TrunkConfig, dtype: DType) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join(CONFIG), serde_json::to_string(config).unwrap()).unwrap();
    let words = (0..VOCABULARY).map(|word| (format!("w{word}"), word as u32)).collect();
    let words = WordLevel::builder().vocab(words).unk_token("w3".to_string()).build().unwrap();
    tokenizers::Tokenizer::new(words).save(source.join(TOKENIZER), false).unwrap();
    let tensors: HashMap<_, _> =
        parameters(config).into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect();
    candle_core::safetensors::save(&tensors, source.join(WEIGHTS)).unwrap();
    place
}

/// Converts a model of the place into another one there.
pub(crate) fn make(
    place: &TempDir,
    [from, to]: [&str; 2],
    target: Option<Target>,
    pack: bool,
) -> lldm_models::Result<Report> {
    convert(path(place, from).to_str().unwrap(), &path(place, to), ConvertConfig { target, pack, replace: false })
}

pub(crate) fn path(place: &TempDir, name: &str) -> PathBuf {
    place.path().join(name)
}

pub(crate) fn open(place: &TempDir, name: &str) -> lldm_models::Result<LoadedModel> {
    load(path(place, name).to_str().unwrap())
}

pub(crate) fn weights(place: &TempDir, name: &str) -> Vec<u8> {
    fs::read(path(place, name).join(WEIGHTS)).unwrap()
}

/// The logits of eleven cells, some of them masked.
pub(crate) fn logits(trunk: &Trunk) -> Vec<Vec<f32>> {
    let tokens = [5, 0, 299, 17, 0, 0, 64, 33, 0, 128, 255];
    let positions: Vec<_> = (0..tokens.len()).collect();
    let hidden = trunk.hidden(&tokens, 1, &positions, None, Visibility::Full, None).unwrap();
    trunk.logits(&hidden).unwrap().to_vec2().unwrap()
}

pub(crate) fn logits_of(place: &TempDir, name: &str) -> Vec<Vec<f32>> {
    logits(open(place, name).unwrap().trunk.as_ref().unwrap())
}

/// Blocks of a matrix, by candle.
pub(crate) fn blocks(format: QuantFormat, tensor: &Tensor) -> Vec<u8> {
    QTensor::quantize(tensor, ggml_type(format)).unwrap().data().unwrap().into_owned()
}

/// What lies in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
