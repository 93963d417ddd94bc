//! `lldm fill`: gaps of a text are written, everything else comes back byte for byte.

use std::io::{IsTerminal, Read, Write};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use lldm::{FillText, Filled, Pipeline};
use lldm_diffusion::{Frame, Token};

use super::run::{draw_seed, frames_per_second};
use crate::config;
use crate::constraints::cache;
use crate::device::DeviceArgs;
use crate::render::canvas::END_GLYPH;
use crate::render::screen::{Screen, is_live};
use crate::render::{json, plain};
use crate::sampling::SamplingArgs;
use crate::whole_file;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lldm fill \"The ____ is on the table.\"\n  lldm fill --prefix \"I went home\" --suffix \" because I was ill.\"\n  \
    lldm fill --file letter.txt --span 120..180 --strength 0.6 --output letter.txt"
)]
pub(crate) struct FillArgs {
    /// The text with its gaps; `-`, or none with a pipe at stdin, reads it from there
    pub(crate) text: Option<String>,
    /// Read the text from a file
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) file: Option<PathBuf>,
    /// What stands for a gap
    #[arg(long, value_name = "LETTERS", default_value = "____")]
    pub(crate) mask: String,
    /// Write what stands behind this text, and before --suffix
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text", "file", "span"])]
    pub(crate) prefix: Option<String>,
    /// Write what stands before this text, and behind --prefix
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["text", "file", "span"])]
    pub(crate) suffix: Option<String>,
    /// Write the bytes from A up to B anew, whatever stands there
    #[arg(long, value_name = "A..B", value_parser = span)]
    pub(crate) span: Vec<Range<usize>>,
    /// How far the text of the spans is noised, from 0 to 1; what survives is kept. Without it, spans are written from nothing
    #[arg(long, value_name = "T", requires = "span", allow_negative_numbers = true)]
    pub(crate) strength: Option<f64>,
    /// An expression that every gap matches, in the syntax of the Rust crate `regex`
    #[arg(long, value_name = "REGEX")]
    pub(crate) gap: Option<String>,
    /// How many tokens a gap may have; the model's prediction decides within
    #[arg(long, value_name = "A..B", default_value = "1..16", value_parser = tokens, conflicts_with = "strength")]
    pub(crate) gap_tokens: RangeInclusive<usize>,
    /// `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(short, long, value_name = "MODEL", default_value = "embedded")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// The seed; the same seed gives the same text [default: drawn, and told with the figures]
    #[arg(long, env = "LLDM_SEED", help_heading = "Sampling")]
    pub(crate) seed: Option<u64>,
    /// Write the text to a file instead of stdout
    #[arg(long, value_name = "FILE", conflicts_with = "json", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// Write one JSON object: text, what each gap holds, seed, sampler with its settings, usage
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// The most frames a second on a terminal
    #[arg(long, value_name = "FPS", default_value = "40", value_parser = frames_per_second, help_heading = "Output")]
    pub(crate) fps: f64,
    /// Tell the figures also where stderr is no terminal
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    pub(crate) verbose: bool,
    /// Tell nothing but the result and errors, and show no canvas
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// Runs the command.
pub(crate) fn run(args: &FillArgs) -> Result<()> {
    let layers = config::layers()?;
    if args.sampling.max_tokens.is_some() || args.sampling.canvas_length.is_some() {
        bail!("the text and its gaps decide how many tokens are written: bound the gaps with --gap-tokens");
    }
    let request = args.sampling.request()?;
    let (text, typed) = args.text()?;
    let pipeline = Pipeline::load_on(&args.model, args.device.device)?.with_layers(layers).with_cache(cache());
    let end = &pipeline.model().denoiser.info().end;
    let text_of = |token: Token| match end.contains(&token) {
        true => END_GLYPH.to_string(),
        false => pipeline.tokenizer().piece(token),
    };
    let live = is_live() && std::io::stdout().is_terminal() && !args.json && !args.quiet;
    let mut screen = live.then(|| Screen::open(text.head(), args.fps));
    let mut fill = pipeline
        .fill(text)
        .gap_tokens(args.gap_tokens.clone())
        .request(request)
        .seed(args.seed.unwrap_or_else(draw_seed));
    if let Some(gap) = &args.gap {
        fill = fill.gap(gap);
    }
    if let Some(strength) = args.strength {
        fill = fill.strength(strength);
    }
    let filled = fill
        .observe(|frame: &Frame| {
            if let Some(screen) = &mut screen {
                screen.show(frame, &text_of);
            }
        })
        .run();
    if let Some(mut screen) = screen.take() {
        screen.clear();
    }
    let filled = filled?;
    if args.json {
        json::say(&filled)?;
    } else if let Some(path) = &args.output {
        whole_file::write(path, &filled.text)?;
    } else {
        // What was typed has no line end of its own; all else is kept to the byte.
        let ended = if typed { "\n" } else { "" };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("{}{ended}", filled.text).as_bytes()).and_then(|()| stdout.flush())?;
    }
    if args.verbose || (!args.quiet && std::io::stderr().is_terminal()) {
        plain::note(&figures(&filled));
    }
    Ok(())
}

impl FillArgs {
    /// The text with its gaps, and whether it was typed.
    fn text(&self) -> Result<(FillText, bool)> {
        if self.prefix.is_some() || self.suffix.is_some() {
            let (prefix, suffix) = (self.prefix.as_deref().unwrap_or(""), self.suffix.as_deref().unwrap_or(""));
            return Ok((FillText::between(prefix, suffix), true));
        }
        let mut stdin = std::io::stdin();
        let (text, typed) = match (&self.file, &self.text) {
            (Some(file), _) => {
                let text = std::fs::read_to_string(file);
                (text.map_err(|error| anyhow!("cannot read {}: {error}", file.display()))?, false)
            }
            (None, Some(text)) if text != "-" => (text.clone(), true),
            (None, None) if stdin.is_terminal() => {
                bail!("there is no text: write one with `{}` for a gap, or name a --file", self.mask)
            }
            _ => {
                let mut text = String::new();
                stdin.read_to_string(&mut text).map_err(|error| anyhow!("cannot read the text from stdin: {error}"))?;
                (text, false)
            }
        };
        match self.span.is_empty() {
            true => Ok((FillText::masked(&text, &self.mask)?, typed)),
            false => Ok((FillText::spans(&text, &self.span)?, typed)),
        }
    }
}

/// The figures of a filling, on one line.
fn figures(filled: &Filled) -> String {
    let usage = &filled.output.usage;
    let gaps: Vec<_> = filled.gaps.iter().map(|gap| format!("{gap:?}")).collect();
    format!("{} in {} NFE and one for the lengths, seed {}", gaps.join(", "), usage.nfe, filled.output.seed)
}

/// `120..180`.
fn span(text: &str) -> Result<Range<usize>, String> {
    let wrong = || "a span is written 120..180, from a byte up to another".to_string();
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    Ok(from.trim().parse().map_err(|_| wrong())?..to.trim().parse().map_err(|_| wrong())?)
}

/// `1..16`, or `4`; both ends are included.
fn tokens(text: &str) -> Result<RangeInclusive<usize>, String> {
    let wrong = || "a range of tokens is written 1..16, or 4".to_string();
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| wrong());
    match text.split_once("..") {
        None => Ok(number(text)?..=number(text)?),
        Some((from, to)) => Ok(number(from)?..=number(to.trim_start_matches('='))?),
    }
}
