//! `lldm score`: how probable a text is under a model, exactly where that can be had, else as an upper bound of -log p.

use std::io::{IsTerminal, Read};

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use lldm::likelihood::{
    BoundConfig, EnumerationConfig, Estimate, Kind, MonteCarloConfig, block_bound, enumerated_bound, left_to_right,
    monte_carlo_bound,
};
use lldm::models::{self, LoadedModel};
use lldm_diffusion::Token;
use serde::Serialize;
use serde_json::{Value, json};

use crate::device::DeviceArgs;
use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(short, long, value_name = "MODEL", default_value = "embedded")]
    model: String,
    #[command(flatten)]
    device: DeviceArgs,
    /// The text; without it, stdin is read
    #[arg(long)]
    text: Option<String>,
    /// What stands before the text and is given
    #[arg(long, default_value = "")]
    prompt: String,
    /// How it is measured
    #[arg(long, value_enum, default_value_t = Estimator::Auto)]
    estimator: Estimator,
    /// Draws for each block, more for a smaller standard error [bound: 32, monte-carlo: 64]
    #[arg(long)]
    samples: Option<usize>,
    /// Subsets of each number of masks [enumeration: 2]
    #[arg(long)]
    subsets: Option<usize>,
    /// The tokens of a block: 1 is the left-to-right likelihood, 0 the bound over the whole text [0]
    #[arg(long, value_name = "TOKENS")]
    block_length: Option<usize>,
    /// The seed of the draws [0]
    #[arg(long)]
    seed: Option<u64>,
    /// Do not score the end of the text
    #[arg(long)]
    no_end: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// How the likelihood is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Estimator {
    /// What fits the model: exact where it is autoregressive, its noise's bound where it is not
    Auto,
    /// The masked bound, block by block, with a drawn number of masks
    Bound,
    /// The masked bound with every number of masks
    Enumeration,
    /// The bound of the model's noise, with drawn times
    MonteCarlo,
    /// The exact likelihood of writing from left to right: one order, not the bound
    Chain,
}

/// Runs the command.
pub(crate) fn run(args: &ScoreArgs) -> Result<()> {
    let text = text(args)?;
    for (flag, value) in [("--samples", args.samples), ("--subsets", args.subsets)] {
        if value == Some(0) {
            bail!("{flag} is 0, but at least 1 is needed");
        }
    }
    let model = models::load_on(&args.model, args.device.device)?;
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
    let estimator = args.resolve(&model)?;
    let settings = args.settings(estimator, &model)?;
    let estimate = settings.measure(estimator, &model, &prefix, &tokens)?;
    if !estimate.nats.is_finite() {
        bail!("the model holds this text for impossible: are all of its words in the model's vocabulary?");
    }
    show(args, estimator, &settings, &estimate, &text)
}

impl ScoreArgs {
    /// The estimator for a model, or why the one asked for does not fit it.
    fn resolve(&self, model: &LoadedModel) -> Result<Estimator> {
        let marked = model.noise.alphabet().is_none();
        let causal = is_causal(model);
        match self.estimator {
            Estimator::Auto if !marked => Ok(Estimator::MonteCarlo),
            Estimator::Auto => Ok(Estimator::Bound),
            Estimator::Bound | Estimator::Enumeration | Estimator::Chain if !marked => {
                let (name, noise) = (self.estimator.name(), model.noise.name());
                bail!("--estimator {name} is for masked noise, but the model's noise is {noise}: take monte-carlo")
            }
            Estimator::MonteCarlo | Estimator::Enumeration | Estimator::Chain if causal => {
                bail!("the likelihood of an autoregressive model is exact: take --estimator auto")
            }
            other => Ok(other),
        }
    }

    /// The settings that act, by flag, with their values. A flag without use is refused.
    fn settings(&self, estimator: Estimator, model: &LoadedModel) -> Result<Settings> {
        let causal = is_causal(model);
        let drawn = !causal && estimator != Estimator::Chain;
        let blocks = drawn && model.denoiser.info().canvas_length.is_none();
        let samples = match estimator {
            Estimator::Bound if !causal => Some(BoundConfig::default().samples),
            Estimator::MonteCarlo => Some(MonteCarloConfig::default().samples),
            _ => None,
        };
        let subsets = (estimator == Estimator::Enumeration).then(|| EnumerationConfig::default().subsets);
        let acts = [
            ("--samples", self.samples.is_some(), samples.is_some()),
            ("--subsets", self.subsets.is_some(), subsets.is_some()),
            ("--block-length", self.block_length.is_some(), blocks),
            ("--seed", self.seed.is_some(), drawn),
        ];
        if let Some((flag, ..)) = acts.iter().find(|(_, given, acts)| *given && !acts) {
            let what = if causal { "this model".to_string() } else { format!("--estimator {}", estimator.name()) };
            bail!("{flag} does nothing with {what}: leave it out");
        }
        Ok(Settings {
            samples: samples.map(|default| self.samples.unwrap_or(default)),
            subsets: subsets.map(|default| self.subsets.unwrap_or(default)),
            block_length: blocks.then(|| self.block_length.unwrap_or(0)),
            seed: drawn.then(|| self.seed.unwrap_or(0)),
        })
    }
}

/// What decides a measurement.
#[derive(Clone, Copy, Debug, Serialize)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    samples: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subsets: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_length: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

impl Settings {
    fn measure(&self, estimator: Estimator, model: &LoadedModel, prefix: &[Token], text: &[Token]) -> Result<Estimate> {
        let denoiser = model.denoiser.as_ref();
        let (block_length, seed) = (self.block_length.unwrap_or(0), self.seed.unwrap_or(0));
        let samples = self.samples.unwrap_or(1);
        Ok(match estimator {
            Estimator::Auto | Estimator::Bound => {
                block_bound(denoiser, prefix, text, &BoundConfig { block_length, samples, seed })?
            }
            Estimator::Enumeration => {
                let subsets = self.subsets.unwrap_or(1);
                enumerated_bound(denoiser, prefix, text, &EnumerationConfig { block_length, subsets, seed })?
            }
            Estimator::MonteCarlo => {
                let config = MonteCarloConfig { block_length, samples, seed };
                monte_carlo_bound(denoiser, model.noise.as_ref(), prefix, text, &config)?
            }
            Estimator::Chain => left_to_right(denoiser, prefix, text)?,
        })
    }
}

impl Estimator {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
    }
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

/// Whether the model writes one cell after another, so that its likelihood is exact.
fn is_causal(model: &LoadedModel) -> bool {
    model.denoiser.info().canvas_length == Some(1)
}

fn show(args: &ScoreArgs, estimator: Estimator, settings: &Settings, estimate: &Estimate, text: &str) -> Result<()> {
    let bits_per_byte = (!text.is_empty()).then(|| estimate.bits_per_byte(text.len()));
    if args.json {
        let mut value = json!({
            "model": args.model,
            "estimator": estimator.name(),
            "kind": estimate.kind,
            "nats": estimate.nats,
            "standard_error": estimate.standard_error,
            "tokens": estimate.tokens,
            "bytes": text.len(),
            "nats_per_token": estimate.nats_per_token(),
            "perplexity": estimate.perplexity(),
            "bits_per_byte": bits_per_byte,
            "nfe": estimate.nfe,
        });
        if let (Value::Object(value), Value::Object(settings)) = (&mut value, json!(settings)) {
            value.extend(settings);
        }
        return json_output::say(&value);
    }
    let kind = match estimate.kind {
        Kind::Exact => "exact",
        Kind::Bound => "bound (-log p is at most this)",
        Kind::OneOrder => "one order of writing, exact (not the bound, and not to be ranked with it)",
    };
    let error = estimate.standard_error.map_or("unknown".to_string(), |error| format!("{error:.3}"));
    Ok(plain::say(&plain::pairs(&[
        ("estimator", estimator.name()),
        ("kind", kind.to_string()),
        ("nats", format!("{:.3} ± {error}", estimate.nats)),
        ("tokens", format!("{}{}", estimate.tokens, if args.no_end { "" } else { " (with the end)" })),
        ("nats/token", format!("{:.4}", estimate.nats_per_token())),
        ("perplexity", format!("{:.3}", estimate.perplexity())),
        ("bits/byte", bits_per_byte.map_or("none: the text is empty".to_string(), |bits| format!("{bits:.4}"))),
        ("NFE", estimate.nfe.to_string()),
    ]))?)
}
