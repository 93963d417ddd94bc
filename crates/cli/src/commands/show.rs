//! `lldm show`: what a model is, and with `--resolved` every setting with the place that decided it.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use lldm::{Origin, Pipeline};
use lldm_models::StorageUse;
use lldm_models::load::{CONFIG, GENERATION_CONFIG, TOKENIZER, WEIGHTS};
use serde_json::{Map, Value, json};

use crate::config;
use crate::machine::peak_memory_bytes;
use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(default_value = "embedded")]
    model: String,
    /// Show every setting with its value and its origin
    #[arg(long)]
    resolved: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ShowArgs) -> Result<()> {
    let layers = if args.resolved { config::layers()? } else { Vec::new() };
    let start = Instant::now();
    let pipeline = Pipeline::load(&args.model)?.with_layers(layers);
    let load_s = start.elapsed().as_secs_f64();
    let model = pipeline.model();
    let info = model.denoiser.info();
    let files = files(&args.model)?;
    let settings = if args.resolved { pipeline.settings()?.entries() } else { Vec::new() };
    if args.json {
        let files: Map<_, _> = files.iter().map(|(name, bytes)| (name.to_string(), json!(bytes))).collect();
        let mut value = json!({
            "model": model.name,
            "family": model.family,
            "parameters": model.parameters,
            "vocabulary": info.vocabulary,
            "max_length": info.max_length,
            "config": model.config,
            "defaults": model.defaults,
            "storage": model.storage.iter().map(storage_json).collect::<Vec<_>>(),
            "load_s": load_s,
            "peak_memory_bytes": peak_memory_bytes(),
            "files": files,
        });
        if args.resolved {
            let entry = |(name, value, origin): &(String, Value, Origin)| {
                (name.clone(), json!({ "value": value, "origin": origin }))
            };
            value["settings"] = Value::Object(settings.iter().map(entry).collect());
        }
        return json_output::say(&value);
    }
    let mut rows = vec![
        ("model", model.name.clone()),
        ("family", model.family.clone()),
        ("parameters", plain::grouped(model.parameters)),
        ("vocabulary", plain::grouped(info.vocabulary)),
        ("context", format!("{} tokens", plain::grouped(info.max_length))),
    ];
    let sizes = model.config.as_object().into_iter().flatten().filter(|(key, _)| SIZES.contains(&key.as_str()));
    let sizes: Vec<_> = sizes.map(|(key, value)| format!("{key} {}", bare(value))).collect();
    if !sizes.is_empty() {
        rows.push(("sizes", sizes.join(", ")));
    }
    rows.extend(model.storage.iter().map(|one| ("weights", storage(one))));
    if !model.storage.is_empty() {
        let memory = peak_memory_bytes().map(|bytes| format!(", {} of memory at most", plain::size(bytes)));
        rows.push(("loaded", format!("in {load_s:.3} s{}", memory.unwrap_or_default())));
    }
    rows.extend(files.iter().map(|(name, bytes)| (*name, plain::size(*bytes))));
    let mut text = plain::pairs(&rows);
    if args.resolved {
        let rows: Vec<_> =
            settings.iter().map(|(name, value, origin)| vec![name.clone(), bare(value), place(*origin)]).collect();
        text.push_str("\n\n");
        text.push_str(&plain::table(&["SETTING", "VALUE", "ORIGIN"], &rows));
    }
    Ok(plain::say(&text)?)
}

/// The keys of config.json that say how large a model is.
const SIZES: &[&str] = &[
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "attention",
    "block_length",
    "time_input",
];

/// A kind of storage in words.
fn storage(one: &StorageUse) -> String {
    let mapped = if one.mapped { ", mapped from the file" } else { "" };
    format!("{} in {}, {}{mapped}", plain::grouped(one.parameters), one.kind, plain::size(one.size_bytes as u64))
}

fn storage_json(one: &StorageUse) -> Value {
    json!({
        "format": one.kind.to_string(),
        "mapped": one.mapped,
        "tensors": one.tensors,
        "parameters": one.parameters,
        "size_bytes": one.size_bytes,
    })
}

/// The files of a folder, with their sizes in bytes.
fn files(model: &str) -> Result<Vec<(&'static str, u64)>> {
    let folder = Path::new(model);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let found = [CONFIG, GENERATION_CONFIG, WEIGHTS, TOKENIZER].into_iter().filter(|name| folder.join(name).is_file());
    found.map(|name| Ok((name, folder.join(name).metadata()?.len()))).collect()
}

/// A text without its quotes, anything else as JSON.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn place(origin: Origin) -> String {
    match origin {
        Origin::Request => "a flag".to_string(),
        Origin::Environment => "the environment".to_string(),
        Origin::Project => named("the project", config::project_file()),
        Origin::User => named("the user", config::user_file()),
        Origin::Checkpoint => "the checkpoint".to_string(),
        Origin::Paper => "built in, as the paper has it where there is one".to_string(),
    }
}

fn named(what: &str, file: Option<std::path::PathBuf>) -> String {
    file.map_or_else(|| what.to_string(), |file| format!("{what}: {}", file.display()))
}
