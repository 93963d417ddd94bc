//! `lldm run`: a prompt becomes a text, and the canvas is shown on the way.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::{Args, ValueEnum};
use lldm::control::Constraints;
use lldm::diffusion::particles::RatioOfZ;
use lldm::{Generate, Output, Pipeline, Prompt};
use lldm_diffusion::{Frame, Token};
use serde_json::{Value, json};

use super::run_lines;
use crate::config;
use crate::constraints::{ConstraintArgs, Explained, cache};
use crate::device::DeviceArgs;
use crate::render::canvas::END_GLYPH;
use crate::render::screen::{Screen, is_live, wants_colour};
use crate::render::wrap::harmless;
use crate::render::{json, plain};
use crate::sampling::SamplingArgs;
use crate::trace_file::{self, FrameLines, Header};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The text to continue; `-`, or none with a pipe at stdin, reads it from there
    pub(crate) prompt: Option<String>,
    /// `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(short, long, value_name = "MODEL", default_value = "embedded")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) constraints: ConstraintArgs,
    /// Write N texts in step, weighed by how probable the rest of a valid text is, and take one by its weight: the larger N, the
    /// nearer it is to the model's own law of valid texts (exactly so in the end where the choice of cells does not depend
    /// on their tokens: first_hitting, random, ancestral, with --end-rule free). Costs N texts
    #[arg(long, value_name = "N", conflicts_with_all = ["jsonl", "trace"], help_heading = "Constraints")]
    pub(crate) particles: Option<usize>,
    /// Let the text go on within the word that the prompt ends with
    #[arg(long)]
    pub(crate) within_word: bool,
    /// The seed; the same seed gives the same text [default: drawn, and told with the figures]
    #[arg(long, env = "LLDM_SEED", help_heading = "Sampling")]
    pub(crate) seed: Option<u64>,
    /// What is shown of the process [default: canvas on a terminal, else text]
    #[arg(long, value_enum, help_heading = "Output")]
    pub(crate) show: Option<Show>,
    /// The most frames a second on a terminal
    #[arg(long, value_name = "FPS", default_value = "40", value_parser = frames_per_second, help_heading = "Output")]
    pub(crate) fps: f64,
    /// Write the prompt before the text
    #[arg(long, help_heading = "Output")]
    pub(crate) echo: bool,
    /// Write one JSON object: text, seed, model, sampler with its settings, usage, reason of the end
    #[arg(long, conflicts_with_all = ["jsonl", "echo"], help_heading = "Output")]
    pub(crate) json: bool,
    /// Write each frame as a line of JSON, then the result
    #[arg(long, conflicts_with = "echo", help_heading = "Output")]
    pub(crate) jsonl: bool,
    /// Add times to the JSON
    #[arg(long, help_heading = "Output")]
    pub(crate) timing: bool,
    /// Record the frames for `lldm trace`
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) trace: Option<PathBuf>,
    /// Tell the figures also where stderr is no terminal
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    pub(crate) verbose: bool,
    /// Tell nothing but the result and errors
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Write a text for each line {"prompt": ..., "id"?: ..., "seed"?: ...} of a file
    #[arg(
        long, value_name = "PROMPTS.jsonl", help_heading = "Many texts",
        conflicts_with_all = ["prompt", "show", "echo", "json", "jsonl", "trace", "timing"]
    )]
    pub(crate) input: Option<PathBuf>,
    /// Where their results go, line by line; lines that are there already are not made again [default: stdout]
    #[arg(long, value_name = "RESULTS.jsonl", requires = "input", help_heading = "Many texts")]
    pub(crate) output: Option<PathBuf>,
    /// Texts written in step; the results do not depend on it
    #[arg(long, value_name = "TEXTS", default_value = "1", requires = "input", help_heading = "Many texts")]
    pub(crate) batch: usize,
}

/// What is shown of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// Every frame, then the text
    Canvas,
    /// The text
    Text,
    /// Nothing: for measuring and recording
    None,
}

/// Takes the frames to where they are wanted.
#[derive(Default)]
struct Watcher {
    screen: Option<Screen>,
    /// The lines of frames, which a trace keeps and --jsonl writes at once.
    lines: Option<FrameLines>,
    explained: Option<Explained>,
    kept: Vec<String>,
    write: bool,
    failed: Option<anyhow::Error>,
    /// The time that all this took.
    watched: Duration,
}

/// Runs the command.
pub(crate) fn run(args: RunArgs) -> Result<()> {
    let layers = config::layers()?;
    if let Some(input) = &args.input {
        return run_lines::run(&args, input, layers);
    }
    let request = args.sampling.request()?;
    let constraints = args.constraints()?;
    let prompt = prompt(args.prompt.as_deref())?;
    let trace = args.trace.as_deref().map(trace_file::Writer::create).transpose()?;
    let start = Instant::now();
    let pipeline = Pipeline::load_on(&args.model, args.device.device)?.with_layers(layers).with_cache(cache());
    let load_s = start.elapsed().as_secs_f64();
    let constraints = args.constraints.complete(constraints, &pipeline)?;
    let explained = match args.constraints.explain {
        true => Some(Explained::new(pipeline.compile(&constraints, &prompt)?)),
        false => None,
    };
    let text_of = texts(&pipeline);

    let show = args.show.unwrap_or(match () {
        () if args.json || args.jsonl => Show::None,
        () if is_live() && std::io::stdout().is_terminal() => Show::Canvas,
        () => Show::Text,
    });
    let mut watcher = Watcher {
        screen: (show == Show::Canvas).then(|| Screen::open(&prompt, args.fps)),
        lines: (args.jsonl || args.trace.is_some()).then(FrameLines::default),
        explained,
        write: args.jsonl,
        ..Watcher::default()
    };
    let start = Instant::now();
    let generate = pipeline
        .generate(args.prompt_of(&prompt))
        .request(request)
        .constraints(constraints)
        .seed(args.seed.unwrap_or_else(draw_seed));
    let generate = args.with_particles(generate);
    let output = generate.observe(|frame: &Frame| watcher.timed(frame, &pipeline, &text_of)).run();
    // Showing the frames takes time that the model does not.
    let generate_s = start.elapsed().saturating_sub(watcher.watched).as_secs_f64();
    if let Some(mut screen) = watcher.screen.take() {
        screen.clear();
    }
    let Watcher { kept, failed, explained, .. } = watcher;
    let output = output?;
    if let Some(error) = failed {
        return Err(error);
    }
    if let Some(trace) = trace {
        let end = &pipeline.model().denoiser.info().end;
        trace.finish(&Header::new(&output, &prompt, end)?, &kept)?;
    }
    if args.json || args.jsonl {
        json::say(&result(&output, args.timing.then_some((load_s, generate_s)))?)?;
    } else if show != Show::None {
        write_text(&args, show, &pipeline, &prompt, &output)?;
    }
    if let Some(explained) = explained {
        explained.tell(pipeline.cache(), output.particles);
    }
    if args.verbose || (!args.quiet && std::io::stderr().is_terminal()) {
        plain::note(&figures(&output, load_s, generate_s));
    }
    Ok(())
}

impl RunArgs {
    /// The constraints that the flags ask for.
    pub(crate) fn constraints(&self) -> Result<Constraints> {
        let constraints = self.constraints.read()?;
        if self.particles.is_some() && constraints.is_empty() {
            bail!("--particles weighs texts by constraints, but none is given");
        }
        Ok(constraints)
    }

    /// The generation, by particles if the flags ask for them.
    pub(crate) fn with_particles<'a>(&self, generate: Generate<'a>) -> Generate<'a> {
        match self.particles {
            Some(count) => generate.particles(count, &RatioOfZ),
            None => generate,
        }
    }

    /// The prompt as the pipeline takes it.
    pub(crate) fn prompt_of(&self, text: &str) -> Prompt {
        let prompt = Prompt::text(text);
        if self.within_word { prompt.within_word() } else { prompt }
    }
}

/// A seed that is new each time, short enough to be typed.
pub(crate) fn draw_seed() -> u64 {
    RandomState::new().build_hasher().finish() % 1_000_000_000
}

/// What each token looks like on a canvas.
fn texts(pipeline: &Pipeline) -> impl Fn(Token) -> String {
    let end = &pipeline.model().denoiser.info().end;
    |token| if end.contains(&token) { END_GLYPH.to_string() } else { pipeline.tokenizer().piece(token) }
}

impl Watcher {
    fn timed(&mut self, frame: &Frame, pipeline: &Pipeline, text_of: &dyn Fn(Token) -> String) {
        // Of particles, the first one is shown.
        if frame.sequence != 0 {
            return;
        }
        let start = Instant::now();
        self.take(frame, pipeline, text_of);
        self.watched += start.elapsed();
    }

    fn take(&mut self, frame: &Frame, pipeline: &Pipeline, text_of: &dyn Fn(Token) -> String) {
        if let Some(screen) = &mut self.screen {
            screen.show(frame, text_of);
        }
        if let Some(explained) = &mut self.explained {
            explained.see(frame);
        }
        let Some(lines) = &mut self.lines else { return };
        let written = lines.line(frame, &|token| pipeline.tokenizer().piece(token)).and_then(|line| {
            if self.write && self.failed.is_none() {
                plain::say(&line)?;
            }
            Ok(line)
        });
        match written {
            Ok(line) => self.kept.push(line),
            Err(error) => self.failed = Some(error),
        }
    }
}

/// The prompt from the argument or from stdin; on a terminal without a prompt there is none.
fn prompt(argument: Option<&str>) -> Result<String> {
    let mut stdin = std::io::stdin();
    match argument {
        Some(text) if text != "-" => Ok(text.to_string()),
        None if stdin.is_terminal() => Ok(String::new()),
        _ => {
            let mut text = String::new();
            stdin.read_to_string(&mut text).map_err(|error| anyhow!("cannot read the prompt from stdin: {error}"))?;
            Ok(text.trim_end_matches(['\n', '\r']).to_string())
        }
    }
}

fn result(output: &Output, times: Option<(f64, f64)>) -> Result<Value> {
    let mut value = serde_json::to_value(output)?;
    if let Some((load_s, generate_s)) = times {
        let tokens_per_second = output.usage.tokens as f64 / generate_s.max(1e-9);
        value["timing"] = json!({ "load_s": load_s, "generate_s": generate_s, "tokens_per_second": tokens_per_second });
    }
    Ok(value)
}

/// The text to stdout; where the canvas was shown, the prompt stands dimmed before it.
fn write_text(args: &RunArgs, show: Show, pipeline: &Pipeline, prompt: &str, output: &Output) -> Result<()> {
    let on_canvas = show == Show::Canvas && is_live() && std::io::stdout().is_terminal();
    if prompt.is_empty() || !(args.echo || on_canvas) {
        // What a constraint speaks of is kept to the last byte.
        let text = if output.constraint.is_some() { &output.text } else { output.text.trim_start() };
        return Ok(plain::say(text)?);
    }
    let mut tokens = pipeline.tokenizer().encode(prompt)?;
    tokens.extend(&output.tokens);
    let whole = pipeline.tokenizer().decode(&tokens)?;
    // Where the tokenizer does not give the prompt back as it was, the text follows it as it is.
    let text = whole.strip_prefix(prompt).unwrap_or(&output.text);
    let shown = match (args.echo, wants_colour()) {
        (true, _) => prompt.to_string(),
        (false, true) => format!("\x1b[2m{}\x1b[0m", harmless(prompt)),
        (false, false) => harmless(prompt),
    };
    Ok(plain::say(&format!("{shown}{text}"))?)
}

/// The figures of a run, on one line. Tokens are those of the text without what lies behind its end.
fn figures(output: &Output, load_s: f64, generate_s: f64) -> String {
    let usage = &output.usage;
    format!(
        "{} tokens, {:.1} tokens/s, {} NFE, {:.2} tokens/NFE, {} steps, seed {} ({load_s:.2} s to load)",
        usage.tokens,
        usage.tokens as f64 / generate_s.max(1e-9),
        usage.nfe,
        usage.tokens as f64 / usage.nfe.max(1) as f64,
        usage.steps,
        output.seed
    )
}

/// A rate of frames that a clock can keep.
pub(crate) fn frames_per_second(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=1000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 1000 is needed".to_string()),
    }
}
