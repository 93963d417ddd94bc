//! `lldm score`: how probable a text is under a model, exactly where that can be had, else as an upper bound of -log p.

use std::io::{IsTerminal, Read};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use lldm::likelihood::{BoundConfig, Estimate, Kind, block_bound};
use lldm::models;
use serde_json::json;

use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(short, long, value_name = "MODEL", default_value = "embedded")]
    model: String,
    /// The text; without it, stdin is read
    #[arg(long)]
    text: Option<String>,
    /// What stands before the text and is given
    #[arg(long, default_value = "")]
    prompt: String,
    /// Draws for each block, more for a smaller standard error
    #[arg(long, default_value_t = BoundConfig::default().samples)]
    samples: usize,
    /// The tokens of a block: 1 is the left-to-right likelihood, 0 the bound over the whole text
    #[arg(long, value_name = "TOKENS", default_value_t = BoundConfig::default().block_length)]
    block_length: usize,
    /// The seed of the draws
    #[arg(long, default_value_t = BoundConfig::default().seed)]
    seed: u64,
    /// Do not score the end of the text
    #[arg(long)]
    no_end: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let text = text(args)?;
    if args.samples == 0 {
        bail!("--samples is 0, but at least 1 is needed");
    }
    let model = models::load(&args.model)?;
    let info = model.denoiser.info();
    let prefix = model.tokenizer.encode(&args.prompt)?;
    let mut tokens = model.tokenizer.encode(&text)?;
    tokens.extend(info.end.first().filter(|_| !args.no_end));
    if tokens.is_empty() {
        bail!("there is no text to score: give one with --text or through a pipe");
    }
    let (length, limit) = (prefix.len() + tokens.len(), info.max_length);
    if length > limit {
        bail!("prompt and text have {length} tokens, but the model sees at most {limit}: score a shorter text");
    }
    let config = BoundConfig { block_length: args.block_length, samples: args.samples, seed: args.seed };
    let estimate = block_bound(model.denoiser.as_ref(), &prefix, &tokens, &config)?;
    if !estimate.nats.is_finite() {
        bail!("the model holds this text for impossible: are all of its words in the model's vocabulary?");
    }
    show(args, &estimate, &text)
}

fn text(args: &ScoreArgs) -> Result<String> {
    if let Some(text) = &args.text {
        return Ok(text.clone());
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        bail!("there is no text to score: give one with --text or through a pipe");
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).map_err(|error| anyhow!("cannot read the text from stdin: {error}"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_string())
}

fn show(args: &ScoreArgs, estimate: &Estimate, text: &str) -> Result<()> {
    let bits_per_byte = (!text.is_empty()).then(|| estimate.bits_per_byte(text.len()));
    if args.json {
        return json_output::say(&json!({
            "model": args.model,
            "kind": estimate.kind,
            "nats": estimate.nats,
            "standard_error": estimate.standard_error,
            "tokens": estimate.tokens,
            "bytes": text.len(),
            "nats_per_token": estimate.nats_per_token(),
            "perplexity": estimate.perplexity(),
            "bits_per_byte": bits_per_byte,
            "nfe": estimate.nfe,
            "samples": args.samples,
            "block_length": args.block_length,
            "seed": args.seed,
        }));
    }
    let kind = match estimate.kind {
        Kind::Exact => "exact",
        Kind::Bound => "bound (-log p is at most this)",
    };
    Ok(plain::say(&plain::pairs(&[
        ("kind", kind.to_string()),
        ("nats", format!("{:.3} ± {:.3}", estimate.nats, estimate.standard_error)),
        ("tokens", format!("{}{}", estimate.tokens, if args.no_end { "" } else { " (with the end)" })),
        ("nats/token", format!("{:.4}", estimate.nats_per_token())),
        ("perplexity", format!("{:.3}", estimate.perplexity())),
        ("bits/byte", bits_per_byte.map_or("none: the text is empty".to_string(), |bits| format!("{bits:.4}"))),
        ("NFE", estimate.nfe.to_string()),
    ]))?)
}
