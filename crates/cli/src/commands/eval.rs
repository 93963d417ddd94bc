//! `lldm eval`: what a model is worth, measured on the held-out text of its recipe, and a card that says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use lldm::Pipeline;
use lldm::judge::{KneserNey, Score};
use lldm::models::Trunk;
use lldm_eval::card::{self, CardText};
use lldm_eval::extraction::{self, Question};
use lldm_eval::plot::{self, Curve};
use lldm_eval::report::{BitsPerByte, DomainReport, Report};
use lldm_eval::samples::{self, Sample};
use lldm_train::Recipe;
use lldm_train::data::{Corpus, Document, Places, Split, TokenSet};
use lldm_train::dataset::{Dataset, documents};
use lldm_train::measure::{MeasureConfig, Measured, measure, rows};
use lldm_train::tracker::Metrics;

use crate::device::DeviceArgs;
use crate::render::{json as json_output, plain};
use crate::{bundled, judge, whole_file};

/// The file names of an evaluation.
const REPORT: &str = "report.json";
const CARD: &str = "README.md";
const CURVE: &str = "curve.svg";
/// Texts that are printed in the card.
const SHOWN: usize = 20;
/// Tokens that an answer in JSON may have.
const ANSWER_TOKENS: usize = 64;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The model: a folder, usually the `model` folder of a run
    model: String,
    #[command(flatten)]
    device: DeviceArgs,
    /// The recipe that it was trained by: a file, or one of the program's
    #[arg(long)]
    recipe: String,
    /// An autoregressive model of the same size, to stand beside it
    #[arg(long, value_name = "MODEL")]
    twin: Option<String>,
    /// Where report.json, README.md and curve.svg are written
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
    /// Texts that are written from nothing
    #[arg(long, default_value_t = 200)]
    texts: usize,
    /// The most held-out rows of each domain
    #[arg(long, default_value_t = 400)]
    rows: usize,
    /// Draws of the noise for each row
    #[arg(long, default_value_t = 4)]
    draws: usize,
    /// Held-out descriptions that are turned into JSON
    #[arg(long, default_value_t = 200)]
    questions: usize,
    /// What the model is, for the head of the card
    #[arg(long, default_value = "A text diffusion model.")]
    summary: String,
    /// The command that makes it, for the foot of the card
    #[arg(long, default_value = "lldm train RECIPE")]
    command: String,
    /// Write the report to stdout too
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let recipe = bundled::recipe(&args.recipe, &[])?;
    let places = Places::from_env()?;
    let load = |name: &str| Pipeline::load_on(name, args.device.device);
    let pipeline = load(&args.model)?;
    let trunk = trunk_of(&pipeline, &args.model)?;
    let twin = args.twin.as_deref().map(load).transpose()?;
    let twin_trunk = twin.as_ref().map(|twin| trunk_of(twin, "the twin")).transpose()?;

    plain::note("reading the held-out text");
    let tokenizer = Path::new(&args.model).join("tokenizer.json");
    let dataset = Dataset::load(&recipe, &places, Some(&tokenizer))?;
    plain::note("training the n-gram judge");
    let train = dataset.train.documents().iter().map(|document| &document.tokens);
    let judge = judge::train(dataset.tokenizer.vocabulary(), train)?;

    let config = MeasureConfig { length: recipe.data.length, rows: args.rows, draws: args.draws, seed: 0 };
    let mut domains = Vec::new();
    let (mut models, mut twins, mut judges) = (Vec::new(), Vec::new(), Vec::new());
    for (name, set) in &dataset.domains {
        plain::note(&format!("measuring bits per byte on {name}"));
        let model = measure(&trunk, set, &config)?;
        let twin = twin_trunk.as_ref().map(|trunk| measure(trunk, set, &config)).transpose()?;
        let judged = judge_rows(&judge, set, &config)?;
        domains.push(domain(name, model, twin, judged)?);
        models.push(model);
        twins.extend(twin);
        judges.push(judged);
    }
    let twin_all = (!twins.is_empty()).then(|| together(&twins));
    domains.push(domain("all", together(&models), twin_all, judges.into_iter().sum())?);

    plain::note(&format!("writing {} texts", args.texts));
    let (texts, cost) = samples::write_texts(&pipeline, args.texts)?;
    let human = judge::human_texts(&documents(&recipe, &places, Split::HeldOut)?, args.texts);
    if human.is_empty() {
        bail!("the recipe's held-out text has prompts throughout: there is nothing to compare texts from nothing with");
    }
    let end = pipeline.model().denoiser.info().end.first().copied();
    let look = |texts: &[String]| {
        let samples: Vec<_> = texts.iter().map(Sample::whole).collect();
        samples::look(&samples, pipeline.tokenizer(), Some(&judge), end)
    };
    let questions = questions(&recipe, &places, args.questions)?;
    plain::note(&format!("answering {} questions", questions.len()));
    let extraction =
        (!questions.is_empty()).then(|| extraction::ask(&pipeline, &questions, ANSWER_TOKENS)).transpose()?;
    let metrics = metrics_beside(&args.model)?;
    let report = Report {
        model: recipe.name.clone(),
        parameters: pipeline.model().parameters,
        trained_tokens: metrics.last().map_or(0, |metrics| metrics.tokens),
        judge_order: KneserNey::DEFAULT_ORDER,
        written: look(&texts)?,
        cost,
        human: look(&human)?,
        shuffled: look(&samples::shuffled(&human, 0))?,
        extraction,
        samples: texts.into_iter().take(SHOWN).collect(),
        domains,
    };
    write(args, &recipe, &report, &metrics)?;
    if args.json {
        return json_output::say(&report);
    }
    let all = report.domains.last().ok_or_else(|| anyhow!("there is no held-out text"))?;
    Ok(plain::say(&format!(
        "{}: {:.4} bits/byte ({}), 5-gram {:.4}; {} of {} texts empty",
        args.output.join(CARD).display(),
        all.model.value,
        if all.model.bound { "bound" } else { "exact" },
        all.judge,
        report.written.diversity.empty,
        report.written.diversity.texts,
    ))?)
}

fn write(args: &EvalArgs, recipe: &Recipe, report: &Report, metrics: &[Metrics]) -> Result<()> {
    std::fs::create_dir_all(&args.output).with_context(|| format!("cannot make {}", args.output.display()))?;
    let points = |metrics: &[Metrics]| -> Vec<_> {
        let point = |m: &Metrics| m.held_out_bits_per_byte.map(|bits| (m.tokens as f64 / 1e6, bits));
        metrics.iter().filter_map(point).collect()
    };
    let bound = report.domains.last().is_none_or(|all| all.model.bound);
    let name = format!("this model ({})", if bound { "bound" } else { "exact" });
    let mut curves = vec![Curve { name, points: points(metrics) }];
    if let Some(twin) = &args.twin {
        let points = points(&metrics_beside(twin)?);
        curves.push(Curve { name: "autoregressive twin".to_string(), points });
    }
    curves.retain(|curve| !curve.points.is_empty());
    let drawn = !curves.is_empty();
    if let (true, Some(all)) = (drawn, report.domains.last()) {
        curves.push(Curve { name: format!("Kneser-Ney {}-gram", report.judge_order), points: vec![(0.0, all.judge)] });
        whole_file::write(&args.output.join(CURVE), &plot::curves(&curves, "held-out bits per byte")?)?;
    }
    let text = CardText {
        summary: args.summary.clone(),
        data: recipe.data.corpora.iter().map(|id| corpus_line(id)).collect::<Result<_>>()?,
        command: args.command.clone(),
        recipe: recipe.to_toml()?,
        curve: drawn.then(|| CURVE.to_string()),
    };
    whole_file::write(&args.output.join(REPORT), &(serde_json::to_string_pretty(report)? + "\n"))?;
    whole_file::write(&args.output.join(CARD), &(card::render(report, &text) + "\n"))
}

fn corpus_line(id: &str) -> Result<String> {
    let corpus = Corpus::by_id(id)?;
    Ok(format!("`{id}`: {}. {}. {}", corpus.description, corpus.licence, corpus.attribution))
}

fn trunk_of(pipeline: &Pipeline, name: &str) -> Result<Arc<Trunk>> {
    let trunk = pipeline.model().trunk.clone();
    trunk.ok_or_else(|| anyhow!("{name} is not a model of `lldm train`: only those can be measured by their objective"))
}

/// The judge on the same rows as the models; like them it sees a document's beginning only if the row holds it.
fn judge_rows(judge: &KneserNey, set: &Arc<TokenSet>, config: &MeasureConfig) -> Result<Score> {
    let mut total = Score::default();
    for batch in rows(set, config)? {
        for window in &batch.windows {
            let mut cuts = window.starts.clone();
            cuts.insert(0, 0);
            cuts.push(window.tokens.len());
            cuts.dedup();
            for cut in cuts.windows(2) {
                total += judge.score(&window.tokens[cut[0]..cut[1]], &window.scored[cut[0]..cut[1]])?;
            }
        }
    }
    Ok(total)
}

fn domain(name: &str, model: Measured, twin: Option<Measured>, judge: Score) -> Result<DomainReport> {
    let bits = |measured: Measured| BitsPerByte {
        value: measured.bits_per_byte,
        standard_error: measured.standard_error,
        bound: measured.bound,
    };
    let judge = judge.bits_per_byte(model.bytes).ok_or_else(|| anyhow!("there is no held-out text in {name}"))?;
    Ok(DomainReport { domain: name.to_string(), bytes: model.bytes, model: bits(model), twin: twin.map(bits), judge })
}

/// Several measurements as one.
fn together(parts: &[Measured]) -> Measured {
    let nats: f64 = parts.iter().map(|part| part.nats).sum();
    let bytes: usize = parts.iter().map(|part| part.bytes).sum();
    let squares = parts.iter().map(|part| part.standard_error.map(|error| (error * part.bytes as f64).powi(2)));
    let squares: Option<f64> = squares.sum();
    Measured {
        bits_per_byte: nats / std::f64::consts::LN_2 / bytes.max(1) as f64,
        standard_error: squares.map(|squares| squares.sqrt() / bytes.max(1) as f64),
        nats,
        tokens: parts.iter().map(|part| part.tokens).sum(),
        bytes,
        bound: parts.iter().any(|part| part.bound),
    }
}

/// Held-out documents that ask for JSON.
fn questions(recipe: &Recipe, places: &Places, count: usize) -> Result<Vec<Question>> {
    let all = documents(recipe, places, Split::HeldOut)?;
    let all: Vec<_> = all.into_iter().filter(|document| document.domain == "e2e-json").collect();
    let stride = (all.len() / count.max(1)).max(1);
    let question = |document: Document| Question { prompt: document.prompt, answer: document.text };
    Ok(all.into_iter().step_by(stride).take(count).map(question).collect())
}

/// The metrics of the run that a model folder lies in. A model that lies elsewhere has none, which is said.
fn metrics_beside(model: &str) -> Result<Vec<Metrics>> {
    let path = Path::new(model).parent().map(|run| run.join("metrics.jsonl")).unwrap_or_default();
    if !path.is_file() {
        plain::note(&format!("there is no metrics.jsonl beside {model}: the card goes without its training curve"));
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("{} is damaged", path.display()));
    text.lines().map(parse).collect()
}
