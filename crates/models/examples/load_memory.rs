//! What a model of some hundred megabytes takes to be converted, loaded and asked for the first time: time, and the most memory
//! that the process had. Each row is a process of its own.
//!
//! `cargo run --release -p lldm-models --example load_memory -- FOLDER [MEGABYTES]` writes a model with random weights into FOLDER
//! (500 MB of bf16 unless said otherwise) and keeps it there with its converted forms.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use lldm_diffusion::{Condition, State, StepInput};
use lldm_kernels::QuantFormat;
use lldm_models::convert::{ConvertConfig, Target, convert};
use lldm_models::load::{CONFIG, TOKENIZER, WEIGHTS};
use lldm_models::nn::{Init, Weights};
use lldm_models::trunk::MODEL_TYPE;
use lldm_models::{Answers, Attention, NoiseConfig, Trunk, TrunkConfig, load};
use tokenizers::models::wordlevel::WordLevel;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Words of the tokenizer, special ones among them.
const VOCABULARY: usize = 16_384;
const CANVAS: usize = 64;

/// The forms: a folder, what it is made by.
const FORMS: [(&str, Option<ConvertConfig>); 6] = [
    ("bf16", None),
    ("bf16-packed", Some(ConvertConfig { target: None, pack: true, replace: true })),
    ("q8_0", Some(quant(QuantFormat::Q8_0, false))),
    ("q8_0-packed", Some(quant(QuantFormat::Q8_0, true))),
    ("q4_k", Some(quant(QuantFormat::Q4K, false))),
    ("q4_k-packed", Some(quant(QuantFormat::Q4K, true))),
];

const fn quant(format: QuantFormat, pack: bool) -> ConvertConfig {
    ConvertConfig { target: Some(Target::Quant(format)), pack, replace: true }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["convert", form, from, to] => converted(form, from, Path::new(to)),
        ["load", model] => loaded(model),
        [folder] => all(Path::new(folder), 500),
        [folder, megabytes] => all(Path::new(folder), megabytes.parse()?),
        _ => Err("usage: load_memory FOLDER [MEGABYTES]".into()),
    }
}

fn all(folder: &Path, megabytes: usize) -> Outcome<()> {
    let source = folder.join("bf16");
    if !source.join(WEIGHTS).exists() {
        fs::create_dir_all(&source)?;
        generate(&source, megabytes)?;
    }
    let bytes = |form: &str| Ok::<_, std::io::Error>(fs::metadata(folder.join(form).join(WEIGHTS))?.len());
    println!("{} of {:.1} MB", source.display(), megabytes_of(bytes("bf16")?));
    for (form, config) in FORMS {
        if config.is_some() {
            let (from, to) = (source.display().to_string(), folder.join(form).display().to_string());
            println!("{form:<12} {}", child(&["convert", form, &from, &to])?);
        }
    }
    for (form, _) in FORMS {
        let model = folder.join(form);
        let file = model.join(WEIGHTS);
        for state in ["cached", "on disk"] {
            if state == "on disk" && !forget(&file) {
                println!("{form:<12} {state:<8} not measured: the system does not forget the file");
                continue;
            }
            let told = child(&["load", &model.display().to_string()])?;
            println!("{form:<12} {state:<8} file {:>6.1} MB, {told}", megabytes_of(bytes(form)?));
        }
    }
    Ok(())
}

/// This program again, in a process of its own.
fn child(arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn converted(form: &str, from: &str, to: &Path) -> Outcome<()> {
    let config =
        FORMS.iter().find(|(name, _)| *name == form).and_then(|(_, config)| *config).ok_or("an unknown form")?;
    let start = Instant::now();
    convert(from, to, config)?;
    println!("converted in {:.2} s, {:.1} MB of memory at most", start.elapsed().as_secs_f64(), peak()?);
    Ok(())
}

fn loaded(name: &str) -> Outcome<()> {
    let before = peak()?;
    let start = Instant::now();
    let model = load(name)?;
    let load_s = start.elapsed().as_secs_f64();
    let after = peak()?;
    let mask = model.denoiser.info().mask.ok_or("a model with a mask")?;
    let canvas = vec![mask; CANVAS];
    let ask = || -> Outcome<f64> {
        let start = Instant::now();
        let mut context = model.denoiser.prefill(&[1, 2, 3])?;
        let state = State::Tokens(&canvas);
        let input = StepInput { state, time: 1.0, temperature: 1.0, previous: None, condition: Condition::Given };
        model.denoiser.denoise(&input, &mut context)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (first, second) = (ask()?, ask()?);
    let file = megabytes_of(fs::metadata(Path::new(name).join(WEIGHTS))?.len());
    println!(
        "loaded in {load_s:.3} s, first pass {first:.3} s, second {second:.3} s; memory at most {after:.1} MB after loading \
         ({before:.1} before; {:.3} of the file), {:.1} in the end",
        (after - before) / file,
        peak()?
    );
    Ok(())
}

/// The most memory that this process had, in MB.
fn peak() -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the system does not tell")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
}

fn megabytes_of(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Lets the system drop what it has cached of a file.
fn forget(file: &Path) -> bool {
    let from = format!("if={}", file.display());
    let synced = Command::new("sync").arg(file).status().is_ok_and(|status| status.success());
    let dropped = Command::new("dd").args([&from, "iflag=nocache", "count=0", "status=none"]).status();
    synced && dropped.is_ok_and(|status| status.success())
}

/// Writes a model with random weights in bf16.
fn generate(folder: &Path, megabytes: usize) -> Outcome<()> {
    let (width, inner) = (1536, 4096);
    let per_layer = 2 * (4 * width * width + 3 * width * inner);
    let table = 2 * VOCABULARY * width;
    let layers = ((megabytes * 1_000_000).saturating_sub(table) / per_layer).max(1);
    let config = TrunkConfig {
        model_type: MODEL_TYPE.to_string(),
        vocab_size: VOCABULARY,
        hidden_size: width,
        num_hidden_layers: layers,
        num_attention_heads: 12,
        intermediate_size: inner,
        max_position_embeddings: 256,
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
    };
    fs::write(folder.join(CONFIG), serde_json::to_string_pretty(&config)?)?;
    let words = (0..VOCABULARY).map(|word| (format!("w{word}"), word as u32)).collect();
    let model = WordLevel::builder().vocab(words).unk_token("w3".to_string()).build()?;
    tokenizers::Tokenizer::new(model).save(folder.join(TOKENIZER), false)?;

    let mut names = Names::default();
    Trunk::new(&config, &mut names)?;
    let mut header = serde_json::Map::new();
    let mut start = 0;
    for (name, shape) in &names.0 {
        let end = start + 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), serde_json::json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}));
        start = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::new(File::create(folder.join(WEIGHTS))?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for (_, shape) in &names.0 {
        // About the spread that keeps the size of vectors, and ones for norms.
        let spread = if shape.len() == 2 { 1.0 / (shape[1] as f32).sqrt() } else { 0.0 };
        for _ in 0..shape.iter().product() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let uniform = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            let value = if shape.len() == 2 { 1.7 * spread * uniform } else { 1.0 };
            out.write_all(&(value.to_bits() >> 16).to_le_bytes()[..2])?;
        }
    }
    Ok(out.flush()?)
}

/// The parameters that a family asks for, in its order.
#[derive(Default)]
struct Names(Vec<(String, Vec<usize>)>);

impl Weights for Names {
    fn get(&mut self, name: &str, shape: &[usize], _: Init) -> lldm_models::Result<candle_core::Tensor> {
        self.0.push((name.to_string(), shape.to_vec()));
        let zero = candle_core::Tensor::zeros((), candle_core::DType::F32, &candle_core::Device::Cpu)?;
        Ok(zero.broadcast_as(shape)?)
    }
}
