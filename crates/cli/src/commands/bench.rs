//! `lldm bench --against`: what few steps buy in speed and what they cost in quality, beside another model in the same run. Without
//! another model: what a pass costs ([`super::bench_model`]).

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lldm::Pipeline;
use lldm::judge::KneserNey;
use lldm_eval::samples::{self, Sample, TextReport};
use lldm_eval::tradeoff::{self, Contender, Progress, TradeoffConfig};
use lldm_kernels::QuantFormat;
use lldm_models::Defaults;
use lldm_train::data::Places;
use serde_json::{Map, Value};

use super::bench_constraints::{self, ConstraintsArgs};
use super::bench_fluency::{self, FluencyArgs};
use super::bench_kernels::{self, KernelsArgs};
use super::bench_model;
use super::bench_report::{Bench, JudgeReport};
use crate::device::DeviceArgs;
use crate::judge::{self, JudgeText};
use crate::machine::{self, Machine};
use crate::render::{json as json_output, plain};
use crate::whole_file;

/// The temperature of the twin where nobody sets one: its own distribution, unsharpened.
const TWIN_TEMPERATURE: f64 = 1.0;

/// The arguments.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// `embedded`, `toy`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(default_value = "embedded")]
    model: String,
    /// The same, as other commands name it
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "model")]
    named: Option<String>,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
    /// The model that it is set against, with the same tokenizer; it writes with its own sampler. Without it the parts of a pass are
    /// measured
    #[arg(long, value_name = "TWIN")]
    against: Option<String>,
    /// Measure a pass of the network of this config.json, with weights made at random
    #[arg(long, value_name = "CONFIG.json", conflicts_with_all = ["model", "named", "against"])]
    pub(super) random_weights: Option<PathBuf>,
    /// The format of random weights [default: bf16]
    #[arg(long, value_name = "FORMAT", value_parser = format())]
    pub(super) quant: Option<QuantFormat>,
    /// Cells of the canvas of a measured pass [default: 256, or as many as the model sees]
    #[arg(long, value_name = "CELLS", value_parser = count, conflicts_with = "against")]
    pub(super) canvas: Option<usize>,
    /// Tokens before the canvas of a measured pass
    #[arg(long, value_name = "TOKENS", default_value_t = 0, conflicts_with = "against")]
    pub(super) prefix: usize,
    /// Passes that are measured
    #[arg(long, value_parser = count, default_value = "20", conflicts_with = "against")]
    pub(super) passes: usize,
    /// Numbers of steps for the sampler `low_confidence`, or of passes that a canvas takes
    #[arg(long, value_delimiter = ',', value_parser = count, default_value = "4,8,16,32,64")]
    pub(super) steps: Vec<usize>,
    /// Probabilities for the sampler `threshold`
    #[arg(long, value_delimiter = ',', value_parser = probability, allow_negative_numbers = true)]
    #[arg(default_value = "0.5,0.7,0.9", requires = "against")]
    thresholds: Vec<f64>,
    /// Texts of each setting; they are written one at a time
    #[arg(long, value_parser = count, default_value = "40", requires = "against")]
    texts: usize,
    /// Rounds in which the settings take turns; a speed is the median over them
    #[arg(long, value_parser = count, default_value = "3", requires = "against")]
    rounds: usize,
    /// The most tokens of a text [default: what the model asks for]
    #[arg(short = 'n', long, value_name = "TOKENS", value_parser = count, requires = "against")]
    max_tokens: Option<usize>,
    /// The cells of a block of the model [default: what the model asks for]
    #[arg(long, value_name = "CELLS", value_parser = count, requires = "against")]
    block_length: Option<usize>,
    /// The temperature of all draws [default: what the model asks for, and 1 for the twin]
    #[arg(long, value_name = "T", allow_negative_numbers = true, requires = "against")]
    temperature: Option<f64>,
    /// What texts begin with; several take turns. Without it texts are written from nothing
    #[arg(long, value_name = "TEXT", requires = "against")]
    prompt: Vec<String>,
    /// The seed of the first text; the others follow
    #[arg(long, default_value_t = 0, requires = "against")]
    seed: u64,
    /// What the n-gram judge is trained on: a corpus (`lldm data list`), a .txt, .jsonl or .tsv file, or a folder of those
    /// [default: the text of the recipe `default`, where LLDM_DATA has it]
    #[arg(long, value_name = "TEXT", requires = "against")]
    judge: Vec<String>,
    /// Draw speed against perplexity
    #[arg(long, value_name = "OUT.svg", requires = "against")]
    svg: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What else can be measured.
#[derive(Debug, Subcommand)]
enum What {
    /// The kernels, beside this CPU's peak and candle's own operations
    Kernels(Box<KernelsArgs>),
    /// Constraints by kind: their compilation, and what a step under them costs
    Constraints(Box<ConstraintsArgs>),
    /// What constraints cost in fluency, beside the naive ways of imposing them
    Fluency(Box<FluencyArgs>),
}

impl BenchArgs {
    /// The model asked for.
    pub(super) fn model(&self) -> &str {
        self.named.as_ref().unwrap_or(&self.model)
    }
}

/// The judge with the text behind it.
struct Judge {
    model: KneserNey,
    text: JudgeText,
}

/// Runs the command.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match &args.what {
        Some(What::Kernels(args)) => return bench_kernels::run(args),
        Some(What::Constraints(args)) => return bench_constraints::run(args),
        Some(What::Fluency(args)) => return bench_fluency::run(args),
        None => {}
    }
    // `requires` would say nothing: beside the model, which excludes random weights, clap lets it go.
    if args.quant.is_some() && args.random_weights.is_none() {
        bail!("--quant is the format of --random-weights; `lldm convert` quantises a model that has weights");
    }
    let Some(against) = &args.against else {
        return bench_model::run(args);
    };
    args.svg.as_deref().map_or(Ok(()), check_folder)?;
    let machine = Machine::detect()?;
    let pipeline = Pipeline::load_on(args.model(), args.device.device)?;
    let twin = Pipeline::load_on(against, args.device.device)?;
    tradeoff::check_tokenizers(&pipeline, &twin)?;
    let contenders = contenders(args, &pipeline, &twin)?;
    let judge = judge(args, &pipeline)?;
    let config = TradeoffConfig {
        texts: args.texts,
        rounds: args.rounds,
        seed: args.seed,
        prompts: args.prompt.iter().filter(|prompt| !prompt.is_empty()).cloned().collect(),
    };
    let mut show = Show::new();
    let points =
        tradeoff::measure(&contenders, &config, judge.as_ref().map(|judge| &judge.model), &mut |at| show.show(at));
    show.close();
    // Behind a prompt, human text without one is no level to compare with.
    let free = judge.as_ref().filter(|_| config.prompts.is_empty());
    let human = free.map(|judge| human(judge, &pipeline, args.texts)).transpose()?.flatten();
    let bench = Bench {
        date: machine::today(),
        machine,
        model: args.model().to_string(),
        twin: against.clone(),
        config,
        judge: judge.map(|judge| JudgeReport { order: judge.model.order(), text: judge.text.name }),
        human,
        rows: points?,
    };
    if args.json {
        json_output::say(&bench)?;
    } else {
        plain::say(&bench.table())?;
    }
    args.svg.as_deref().map_or(Ok(()), |path| whole_file::write(path, &bench.picture()?))
}

/// The twin, then the model under each setting.
fn contenders<'a>(args: &BenchArgs, pipeline: &'a Pipeline, twin: &'a Pipeline) -> Result<Vec<Contender<'a>>> {
    let own = pipeline.settings()?;
    let max_tokens = Some(args.max_tokens.unwrap_or(own.max_tokens));
    let temperature = Some(args.temperature.unwrap_or(TWIN_TEMPERATURE));
    let request = Defaults { max_tokens, temperature, ..Defaults::default() };
    let mut all = vec![Contender { pipeline: twin, request }];
    let mut add = |sampler: &str, name: &str, value: Value| {
        let request = Defaults {
            sampler: Some(sampler.to_string()),
            sampler_parameters: Map::from_iter([(name.to_string(), value)]),
            max_tokens,
            temperature: args.temperature,
            block_length: args.block_length,
            ..Defaults::default()
        };
        all.push(Contender { pipeline, request });
    };
    args.steps.iter().for_each(|steps| add("low_confidence", "steps", (*steps).into()));
    args.thresholds.iter().for_each(|threshold| add("threshold", "threshold", (*threshold).into()));
    Ok(all)
}

/// The judge, if there is text for one. What the user names must do; what nobody named may be missing, which is said.
fn judge(args: &BenchArgs, pipeline: &Pipeline) -> Result<Option<Judge>> {
    let places = Places::from_env()?;
    let (tokenizer, model) = (pipeline.tokenizer(), args.model());
    let text = if args.judge.is_empty() {
        JudgeText::of_the_default_recipe(&places)?
    } else {
        let text = JudgeText::named(&args.judge, &places)?;
        if !text.fits(tokenizer)? {
            bail!("the tokenizer of {model} has no tokens for the text of {}: name other text with --judge", text.name);
        }
        Some(text)
    };
    let without = match &text {
        None => "the corpora of the recipe `default` are not here (LLDM_DATA names their folder)".to_string(),
        Some(text) if !text.fits(tokenizer)? => format!("the tokenizer of {model} has no tokens for {}", text.name),
        Some(_) => String::new(),
    };
    let Some(text) = text.filter(|_| without.is_empty()) else {
        if args.svg.is_some() {
            bail!("--svg draws the judge's perplexity, but {without}: name text for the judge with --judge");
        }
        plain::note(&format!("no perplexity: {without}; --judge names other text"));
        return Ok(None);
    };
    plain::note(&format!("training the n-gram judge on {}", text.name));
    let end = pipeline.model().denoiser.info().end.first().copied();
    Ok(Some(Judge { model: text.train(tokenizer, end)?, text }))
}

/// Held-out human text under the judge, if there is any.
fn human(judge: &Judge, pipeline: &Pipeline, count: usize) -> Result<Option<TextReport>> {
    let texts = judge::human_texts(&judge.text.held_out, count);
    if texts.is_empty() {
        return Ok(None);
    }
    let texts: Vec<_> = texts.into_iter().map(Sample::whole).collect();
    let end = pipeline.model().denoiser.info().end.first().copied();
    Ok(Some(samples::look(&texts, pipeline.tokenizer(), Some(&judge.model), end)?))
}

/// Shows how a measurement goes: a bar on a terminal, elsewhere a line a round.
struct Show {
    bar: Option<ProgressBar>,
    round: usize,
}

impl Show {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} texts, {wide_msg} ETA {eta}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, round: 0 }
    }

    fn show(&mut self, at: Progress) {
        let begun = at.round > self.round;
        self.round = at.round;
        match &self.bar {
            Some(bar) => {
                bar.set_length(at.total as u64);
                bar.set_position(at.written as u64);
                bar.set_message(format!("round {}", at.round));
            }
            None if begun => plain::note(&format!("round {}", at.round)),
            None => {}
        }
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A picture's folder must be there before the measurement, not only behind it.
fn check_folder(path: &Path) -> Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => bail!("cannot write {}: there is no folder {}", path.display(), folder.display()),
        None => Ok(()),
    }
}

/// The formats that weights can have.
fn format() -> impl TypedValueParser<Value = QuantFormat> {
    PossibleValuesParser::new(QuantFormat::ALL.map(QuantFormat::name)).map(|name| {
        // The parser lets only these names through.
        QuantFormat::ALL.into_iter().find(|format| format.name() == name).unwrap_or(QuantFormat::Q8_0)
    })
}

fn count(text: &str) -> Result<usize, String> {
    text.trim().parse().ok().filter(|count| *count > 0).ok_or_else(|| "a whole number from 1 is needed".to_string())
}

fn probability(text: &str) -> Result<f64, String> {
    let value = text.trim().parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "a probability from 0 to 1 is needed".to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parsed(args: &[&str]) -> BenchArgs {
        Line::try_parse_from([&["bench"], args].concat()).expect("arguments").args
    }

    #[test]
    fn every_setting_is_a_contender_behind_the_twin() {
        let args = parsed(&["toy", "--against", "toy", "--steps", "2,6", "--thresholds", "0.5", "--block-length", "3"]);
        let toy = Pipeline::load("toy").expect("the toy");
        let all = contenders(&args, &toy, &toy).expect("contenders");
        assert_eq!(all.len(), 4);
        let twin = &all[0].request;
        assert_eq!((&twin.sampler, twin.temperature, twin.max_tokens), (&None, Some(1.0), Some(12)));
        assert_eq!(twin.block_length, None);
        let last = &all[3].request;
        assert_eq!((last.sampler.as_deref(), last.temperature), (Some("threshold"), None));
        assert_eq!((last.max_tokens, last.block_length), (Some(12), Some(3)));
        assert_eq!(all[2].request.sampler_parameters["steps"], 6);
        let cold = parsed(&["toy", "--against", "toy", "--temperature", "0.5"]);
        let all = contenders(&cold, &toy, &toy).expect("contenders");
        assert!(all.len() == 9 && all.iter().all(|contender| contender.request.temperature == Some(0.5)));
    }
}
