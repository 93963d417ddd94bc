//! A checkpoint folder, and every way in which it can be broken: one line says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use lldm_diffusion::{Condition, EndRule, State, StepInput};
use lldm_models::load::{CONFIG, GENERATION_CONFIG, TOKENIZER, WEIGHTS};
use lldm_models::nn::{Init, Loaded, Precision, Visibility, Weights};
use lldm_models::{Answers, Attention, LoadedModel, NoiseConfig, Trunk, TrunkConfig, load};
use tempfile::TempDir;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::{AddedToken, Tokenizer};

const WORDS: usize = 17;

/// Draws small weights and keeps them for the file.
#[derive(Default)]
struct Kept(HashMap<String, Tensor>);

impl Weights for Kept {
    fn get(&mut self, name: &str, shape: &[usize], _: Init) -> lldm_models::Result<Tensor> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|at| ((at * 37 + name.len()) % 101) as f32 / 100.0 - 0.45).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        self.0.insert(name.to_string(), tensor.clone());
        Ok(tensor)
    }
}

fn config() -> TrunkConfig {
    TrunkConfig {
        model_type: lldm_models::trunk::MODEL_TYPE.to_string(),
        vocab_size: WORDS + 3,
        hidden_size: 16,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: 32,
        rope_theta: 10_000.0,
        rms_norm_eps: 1e-6,
        attention: Attention::Full,
        block_length: None,
        time_input: false,
        mask_token_id: WORDS as u32,
        eos_token_id: WORDS as u32 + 1,
        pad_token_id: WORDS as u32 + 2,
        bos_token_id: None,
        noise: NoiseConfig::default(),
        answers: Answers::Clean,
    }
}

fn tensors(config: &TrunkConfig) -> HashMap<String, Tensor> {
    let mut kept = Kept::default();
    Trunk::new(config, &mut kept).unwrap();
    kept.0
}

fn tokenizer(words: usize) -> String {
    let vocabulary = (0..words).map(|word| (format!("w{word}"), word as u32));
    let model = WordLevel::builder().vocab(vocabulary.collect()).unk_token("w0".to_string()).build().unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(tokenizers::pre_tokenizers::whitespace::WhitespaceSplit));
    let special = ["<mask>", "<end>", "<pad>"].map(|name| AddedToken::from(name, true));
    tokenizer.add_special_tokens(special).unwrap();
    tokenizer.to_string(false).unwrap()
}

fn save(folder: &Path, tensors: &HashMap<String, Tensor>) {
    candle_core::safetensors::save(tensors, folder.join(WEIGHTS)).unwrap();
}

fn checkpoint() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(CONFIG), serde_json::to_string(&config()).unwrap()).unwrap();
    fs::write(folder.path().join(TOKENIZER), tokenizer(WORDS)).unwrap();
    save(folder.path(), &tensors(&config()));
    folder
}

fn open(folder: &TempDir) -> lldm_models::Result<LoadedModel> {
    load(folder.path().to_str().unwrap())
}

/// The message of loading `folder`, which holds all of `parts`, in one line.
fn assert_refused(folder: &TempDir, parts: &[&str]) {
    let message = open(folder).err().expect("a broken folder").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(!message.contains('\n'), "more than a line: {message}");
}

/// Rewrites config.json.
fn edit(folder: &TempDir, key: &str, value: impl Into<serde_json::Value>) {
    let path = folder.path().join(CONFIG);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json[key] = value.into();
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn a_whole_folder_is_loaded() {
    let folder = checkpoint();
    let model = open(&folder).unwrap();
    assert_eq!((model.family.as_str(), model.name.as_str()), ("lldm_trunk", folder.path().to_str().unwrap()));
    assert_eq!(model.parameters, tensors(&config()).values().map(Tensor::elem_count).sum::<usize>());
    assert_eq!(model.trunk.as_ref().unwrap().config(), &config());
    assert_eq!(model.defaults.sampler.as_deref(), Some("low_confidence"));
    assert_eq!(model.tokenizer.encode("w3 w16 w0").unwrap(), [3, 16, 0]);
    assert_eq!(model.tokenizer.decode(&[3, 17, 16, 18]).unwrap(), "w3 w16");
    assert_eq!(model.tokenizer.token("<mask>"), Some(17));
    assert!(model.tokenizer.is_special(18) && !model.tokenizer.is_special(16));
    let mut context = model.denoiser.prefill(&[3]).unwrap();
    let input = StepInput {
        state: State::Tokens(&[17, 4]),
        time: 0.5,
        temperature: 1.0,
        previous: None,
        condition: Condition::Given,
    };
    assert_eq!(model.denoiser.denoise(&input, &mut context).unwrap().rows(), 2);
}

#[test]
fn stored_bf16_gives_what_it_holds() {
    let folder = checkpoint();
    let narrow: HashMap<_, _> =
        tensors(&config()).into_iter().map(|(name, t)| (name, t.to_dtype(DType::BF16).unwrap())).collect();
    save(folder.path(), &narrow);
    let loaded = open(&folder).unwrap().trunk.unwrap();
    let mut source = Loaded::new("narrow", narrow, Precision::FrozenBf16);
    let built = Trunk::new(&config(), &mut source).unwrap();
    source.finish().unwrap();
    let hidden = |trunk: &Trunk| {
        let hidden = trunk.hidden(&[3, 17, 5], 1, &[0, 1, 2], None, Visibility::Full, None).unwrap();
        trunk.logits(&hidden).unwrap().to_vec2::<f32>().unwrap()
    };
    assert_eq!(hidden(&loaded), hidden(&built));
    assert!(hidden(&loaded).iter().flatten().all(|logit| logit.is_finite() && *logit != 0.0));
}

#[test]
fn generation_config_overrides_the_family() {
    let folder = checkpoint();
    let path = folder.path().join(GENERATION_CONFIG);
    fs::write(&path, r#"{"sampler": "ancestral", "sampler_parameters": {"steps": 9}, "end_rule": "free"}"#).unwrap();
    let defaults = open(&folder).unwrap().defaults;
    assert_eq!(defaults.sampler.as_deref(), Some("ancestral"));
    assert_eq!((defaults.sampler_parameters["steps"].as_u64(), defaults.end_rule), (Some(9), Some(EndRule::Free)));
    fs::write(&path, r#"{"sampelr": "ancestral"}"#).unwrap();
    assert_refused(&folder, &["generation_config.json", "unknown field `sampelr`"]);
    for (given, said) in [
        (r#"{"sampler": "ancestrel"}"#, "did you mean `ancestral`?"),
        (r#"{"sampler": "ancestral", "sampler_parameters": {"stepz": 9}}"#, "no parameter `stepz`"),
    ] {
        fs::write(&path, given).unwrap();
        assert_refused(&folder, &["generation_config.json", said]);
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in [CONFIG, WEIGHTS, TOKENIZER] {
        let folder = checkpoint();
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_refused(&folder, &[file, "is missing", "a model folder holds config.json"]);
    }
}

#[test]
fn broken_files_are_named() {
    for (file, said) in [(CONFIG, "config.json"), (WEIGHTS, "get it again"), (TOKENIZER, "not a tokenizer.json")] {
        for share in [0, 1, 2] {
            let folder = checkpoint();
            let path = folder.path().join(file);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() * share / 3]).unwrap();
            assert_refused(&folder, &[file, said]);
        }
    }
    let folder = checkpoint();
    fs::write(folder.path().join(WEIGHTS), "<html>not found</html>").unwrap();
    assert_refused(&folder, &["model.safetensors", "not a whole safetensors file"]);
}

#[test]
fn tensors_must_be_those_of_the_architecture() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let change = |edit: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let folder = checkpoint();
        let mut tensors = tensors(&config());
        edit(&mut tensors);
        save(folder.path(), &tensors);
        folder
    };
    let wrong = change(&|tensors| {
        tensors.insert(name.to_string(), Tensor::zeros((23, 16), DType::F32, &Device::Cpu).unwrap());
    });
    assert_refused(&wrong, &[name, "expected shape [24, 16]", "found [23, 16]", "config.json"]);
    let missing = change(&|tensors| drop(tensors.remove(name)));
    assert_refused(&missing, &[name, "expected shape [24, 16]", "found nothing"]);
    let surplus = change(&|tensors| {
        tensors.insert("lm_head.weight".to_string(), Tensor::zeros((20, 16), DType::F32, &Device::Cpu).unwrap());
    });
    assert_refused(&surplus, &["model.safetensors", "1 tensors", "`lm_head.weight`"]);
    // More layers in the file than in the configuration, and fewer.
    let folder = checkpoint();
    edit(&folder, "num_hidden_layers", 1);
    assert_refused(&folder, &["11 tensors have no place", "model.layers.1."]);
    edit(&folder, "num_hidden_layers", 3);
    assert_refused(&folder, &["model.layers.2.", "found nothing"]);
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    for (key, value, parts) in [
        ("model_type", serde_json::json!("gpt5"), &["model_type is gpt5", "lldm_trunk"][..]),
        ("model_type", serde_json::json!(null), &["model_type is nothing"]),
        ("num_experts", serde_json::json!(4), &["unknown field `num_experts`"]),
        ("hidden_size", serde_json::json!("16"), &["invalid type"]),
        ("hidden_size", serde_json::json!(0), &["hidden_size is 0"]),
        ("num_attention_heads", serde_json::json!(3), &["hidden_size 16", "num_attention_heads 3"]),
        ("attention", serde_json::json!("sideways"), &["unknown variant `sideways`"]),
        ("attention", serde_json::json!("block_causal"), &["block_length belongs to block_causal"]),
        ("block_length", serde_json::json!(4), &["block_length belongs to block_causal"]),
        ("mask_token_id", serde_json::json!(20), &["token id 20", "vocab_size 20"]),
    ] {
        let folder = checkpoint();
        edit(&folder, key, value);
        assert_refused(&folder, &[&["config.json"], parts].concat());
    }
}

#[test]
fn a_tokenizer_of_another_size_is_refused() {
    for words in [WORDS - 1, WORDS + 5] {
        let folder = checkpoint();
        fs::write(folder.path().join(TOKENIZER), tokenizer(words)).unwrap();
        let found = format!("{} tokens", words + 3);
        assert_refused(&folder, &["tokenizer.json", &found, "the model has 20", "belongs to another model"]);
    }
}

#[test]
fn a_name_that_is_no_model_is_refused() {
    let folder = checkpoint();
    let file = folder.path().join(WEIGHTS);
    let message = |name: &str| load(name).err().unwrap().to_string();
    let said = message(file.to_str().unwrap());
    assert!(said.contains("it is a file") && said.contains("config.json"), "{said}");
    let said = message("no/such/folder");
    assert!(said.contains("there is no model `no/such/folder`") && said.contains("`toy`"), "{said}");
}
