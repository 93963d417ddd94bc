//! `lldm bench fluency`: what constraints cost in fluency, beside the naive ways of imposing them.

use std::io::IsTerminal;

use anyhow::{Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lldm::Pipeline;
use lldm_eval::fluency::{self, Asked, FluencyConfig, ROWS, Row, Way};
use lldm_eval::samples::{self, Sample, TextReport};
use lldm_train::data::Places;
use serde::Serialize;

use super::bench_report::JudgeReport;
use crate::config;
use crate::constraints::cache;
use crate::judge::{self, JudgeText};
use crate::machine::{self, Machine};
use crate::render::{json, plain};
use crate::sampling::SamplingArgs;

/// Words of the sentences that targets are taken from.
const WORDS: std::ops::RangeInclusive<u32> = 6..=16;
/// Held-out documents that are looked through for a target.
const LOOKED: usize = 40;

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct FluencyArgs {
    /// `embedded`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(default_value = "embedded")]
    model: String,
    /// Texts of each row
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
    texts: u32,
    /// Words of a sentence that must be there
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=6))]
    keywords: u32,
    /// The most texts that are written for one by trying again
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,
    /// The seed of the first text; the others follow
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// What the n-gram judge is trained on, and targets are taken from: a corpus (`lldm data list`), a .txt, .jsonl or .tsv file, or a
    /// folder of those [default: the text of the recipe `default`, where LLDM_DATA has it]
    #[arg(long, value_name = "TEXT")]
    judge: Vec<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// A whole measurement.
#[derive(Debug, Serialize)]
struct Report {
    date: String,
    machine: Machine,
    model: String,
    #[serde(flatten)]
    config: FluencyConfig,
    judge: JudgeReport,
    /// The sentences that the targets are taken from.
    human: TextReport,
    rows: Vec<Row>,
}

/// Runs the command.
pub(super) fn run(args: &FluencyArgs) -> Result<()> {
    let request = args.sampling.request()?;
    let places = Places::from_env()?;
    let pipeline = Pipeline::load(&args.model)?.with_layers(config::layers()?).with_cache(cache());
    let text = match args.judge.is_empty() {
        false => JudgeText::named(&args.judge, &places)?,
        true => match JudgeText::of_the_default_recipe(&places)? {
            Some(text) => text,
            None => bail!(
                "there is no text to take targets from: name some with --judge, or the corpora's folder with LLDM_DATA"
            ),
        },
    };
    if !text.fits(pipeline.tokenizer())? {
        bail!(
            "the tokenizer of {} has no tokens for the text of {}: name other text with --judge",
            args.model,
            text.name
        );
    }
    let config = FluencyConfig {
        texts: args.texts as usize,
        keywords: args.keywords as usize,
        tries: args.tries as usize,
        seed: args.seed,
    };
    let documents = judge::human_texts(&text.held_out, LOOKED * config.texts);
    let lines: Vec<_> = documents.iter().flat_map(|document| document.lines()).map(ToString::to_string).collect();
    let targets = fluency::targets(&lines, &config, *WORDS.start(), *WORDS.end());
    if targets.len() < config.texts {
        bail!(
            "{} holds only {} of {} sentences of {} to {} words to take targets from: ask for fewer --texts",
            text.name,
            targets.len(),
            config.texts,
            WORDS.start(),
            WORDS.end()
        );
    }
    plain::note(&format!("training the n-gram judge on {}", text.name));
    let end = pipeline.model().denoiser.info().end.first().copied();
    let judge = text.train(pipeline.tokenizer(), end)?;
    let human: Vec<_> = targets.iter().map(|target| Sample::whole(target.sentence.clone())).collect();
    let total = (ROWS.len() * config.texts) as u64;
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} texts, ETA {eta}");
        ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    });
    let mut progress = |done: usize| match &bar {
        Some(bar) => bar.set_position(done as u64),
        None if done.is_multiple_of(config.texts) => plain::note(&format!("{done} of {total} texts")),
        None => {}
    };
    let rows = fluency::measure(&pipeline, &targets, &config, Some(&judge), &request, &mut progress);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    let report = Report {
        date: machine::today(),
        machine: Machine::detect()?,
        model: args.model.clone(),
        judge: JudgeReport { order: judge.order(), text: text.name },
        human: samples::look(&human, pipeline.tokenizer(), Some(&judge), end)?,
        rows: rows?,
        config,
    };
    if args.json { json::say(&report) } else { Ok(plain::say(&report.table())?) }
}

impl Report {
    fn table(&self) -> String {
        let header =
            &["ASKED", "HOW", "VALID", "PERPLEXITY", "SELF-BLEU", "DISTINCT-2", "TOKENS/TEXT", "NFE/TEXT", "MS/TEXT"];
        let number =
            |value: Option<f64>, digits: usize| value.map_or("-".to_string(), |value| format!("{value:.digits$}"));
        let quality = |quality: &TextReport| {
            [number(quality.judge_perplexity, 1), number(quality.self_bleu, 3), number(quality.diversity.distinct_2, 3)]
        };
        let row = |row: &Row| {
            let asked = match row.asked {
                Asked::Nothing => "nothing".to_string(),
                Asked::Keywords => format!("a sentence with {} words", self.config.keywords),
                Asked::Length => "so many words".to_string(),
                Asked::KeywordsAndLength => "both".to_string(),
            };
            let way = match row.way {
                Way::None => "-".to_string(),
                Way::Joint => "joint draw".to_string(),
                Way::EachCell => "each cell alone".to_string(),
                Way::Retry => format!("up to {} tries", self.config.tries),
            };
            let mut cells = vec![asked, way, format!("{:.0}%", 100.0 * row.valid)];
            cells.extend(quality(&row.quality));
            cells.extend([row.cost.tokens, row.cost.nfe, 1e3 * row.seconds].map(|value| format!("{value:.1}")));
            cells
        };
        let mut rows: Vec<_> = self.rows.iter().map(row).collect();
        let mut human = vec!["both".to_string(), "the human sentences".to_string(), "100%".to_string()];
        human.extend(quality(&self.human));
        human.extend(std::iter::repeat_n("-".to_string(), 3));
        rows.push(human);
        let Machine { cpu, threads, kernel, .. } = &self.machine;
        format!(
            "{}\n\n{}, {} texts a row, seeds from {}; perplexity by a {}-gram judge trained on {}, broken texts included; {}, {cpu}, \
             {threads} threads, kernel {kernel}",
            plain::table(header, &rows),
            self.model,
            self.config.texts,
            self.config.seed,
            self.judge.order,
            self.judge.text,
            self.date
        )
    }
}
