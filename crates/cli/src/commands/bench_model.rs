//! `lldm bench -m MODEL`: what a pass of a model costs, part by part, what that makes in tokens a second, and the memory it takes.
//!
//! A pass is one call of the network on a canvas of noise behind a prefix, and the reduction of its answer to draws. With
//! `--random-weights` a config.json alone is enough: the weights are made in place.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lldm::diffusion::denoiser::State;
use lldm::diffusion::prediction::RowRequest;
use lldm::diffusion::vocabulary::Draw;
use lldm::diffusion::{Condition, Context, Denoiser, LogitTransform, StepInput, Token};
use lldm::{Pipeline, Prompt};
use lldm_eval::median;
use lldm_kernels::QuantFormat;
use lldm_models::nn::{Part, measure_parts};
use lldm_models::{Device, RandomWeights, Trunk, TrunkConfig, TrunkDenoiser};
use serde::Serialize;

use super::bench::BenchArgs;
use crate::machine::{self, Machine};
use crate::render::{json as json_output, plain};

/// Cells of a canvas where nobody says how many, if the model can see as many.
const CANVAS: usize = 256;
/// Texts that a loaded model writes for its tokens a second.
const TEXTS: u64 = 8;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    date: String,
    machine: Machine,
    model: String,
    device: String,
    quant: Option<String>,
    parameters: Option<usize>,
    canvas: usize,
    prefix: usize,
    load_s: f64,
    /// Of one pass.
    ms_per_nfe: f64,
    parts: Vec<PartRow>,
    /// What no part claims.
    rest_ms: f64,
    /// Tokens a second of a canvas that takes so many passes.
    tokens_per_second: Vec<StepsRow>,
    /// Tokens a second of texts under the model's own settings; random weights write none.
    own_tokens_per_second: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct PartRow {
    part: &'static str,
    ms: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct StepsRow {
    steps: usize,
    tokens_per_second: f64,
}

/// Runs the measurement.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let machine = Machine::detect()?;
    let start = Instant::now();
    let report = match &args.random_weights {
        Some(config) => {
            plain::note("making random weights");
            let trunk = random_trunk(config, args.quant, args.device.device)?;
            let load_s = start.elapsed().as_secs_f64();
            let model = format!("random weights of {}", config.display());
            measure(args, &TrunkDenoiser::new(trunk.into()), machine, model, load_s)?
        }
        None => {
            let pipeline = Pipeline::load_on(args.model(), args.device.device)?;
            let load_s = start.elapsed().as_secs_f64();
            let own = own_speed(&pipeline)?;
            let model = args.model().to_string();
            let report = measure(args, pipeline.model().denoiser.as_ref(), machine, model, load_s)?;
            Report { parameters: Some(pipeline.model().parameters), own_tokens_per_second: Some(own), ..report }
        }
    };
    if args.json { json_output::say(&report) } else { Ok(plain::say(&report.text())?) }
}

fn random_trunk(path: &Path, quant: Option<QuantFormat>, device: Device) -> Result<Trunk> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: TrunkConfig =
        serde_json::from_str(&text).with_context(|| format!("{} is no config.json of lldm_trunk", path.display()))?;
    Ok(Trunk::new(&config, &mut RandomWeights::new(0, quant).on(device.open()?))?)
}

/// Tokens a second of some texts.
fn own_speed(pipeline: &Pipeline) -> Result<f64> {
    plain::note(&format!("writing {TEXTS} texts"));
    let mut rates = Vec::new();
    for seed in 0..TEXTS {
        let start = Instant::now();
        let out = pipeline.generate(Prompt::text("")).seed(seed).run()?;
        rates.push(out.tokens.len() as f64 / start.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}

fn measure(args: &BenchArgs, denoiser: &dyn Denoiser, machine: Machine, model: String, load_s: f64) -> Result<Report> {
    let info = denoiser.info();
    let prefix = args.prefix;
    let room = info.max_length.saturating_sub(prefix);
    let mut canvas = info.canvas_length.unwrap_or(args.canvas.unwrap_or(CANVAS.min(room)));
    if let Some(grid) = info.canvas_grid.filter(|_| args.canvas.is_none()) {
        canvas -= (prefix + canvas) % grid;
    }
    if canvas == 0 || canvas > room {
        bail!(
            "a canvas of {canvas} cells behind {prefix} tokens does not fit: the model sees at most {}",
            info.max_length
        );
    }
    plain::note(&format!("measuring {} passes on {canvas} cells behind {prefix} tokens", args.passes));
    let token = |i: usize| ((i * 7 + 1) % info.vocabulary) as Token;
    let before: Vec<Token> = (0..prefix).map(token).collect();
    let cells: Vec<Token> = (0..canvas).map(|i| info.mask.unwrap_or(token(i))).collect();
    let transform = LogitTransform::default();
    let pass = |seed: u64, context: &mut Context| -> Result<f64> {
        let input = StepInput {
            state: State::Tokens(&cells),
            time: 0.5,
            temperature: 1.0,
            previous: None,
            condition: Condition::Given,
        };
        let start = Instant::now();
        let prediction = denoiser.denoise(&input, context)?;
        let draw = |row: usize| RowRequest { row, draw: Draw::Key(seed + row as u64), held: None };
        let requests: Vec<_> = (0..prediction.rows()).map(draw).collect();
        prediction.propose(&requests, &transform)?;
        Ok(start.elapsed().as_secs_f64())
    };
    pass(0, &mut denoiser.prefill(&before)?)?;
    // Each pass is timed by itself, so that parts and whole are medians of the same passes; a prefill is no part of them.
    let mut whole = Vec::new();
    let mut parts: Vec<Vec<f64>> = vec![Vec::new(); Part::ALL.len()];
    for seed in 0..args.passes as u64 {
        let mut context = denoiser.prefill(&before)?;
        let (seconds, times) = measure_parts(|| pass(seed, &mut context));
        whole.push(seconds?);
        parts.iter_mut().zip(times).for_each(|(all, time)| all.push(time.as_secs_f64()));
    }
    let ms_per_nfe = 1e3 * median(whole);
    let parts: Vec<_> = Part::ALL
        .into_iter()
        .zip(parts)
        .map(|(part, seconds)| PartRow { part: part.name(), ms: 1e3 * median(seconds) })
        .collect();
    let rate = |steps: usize| StepsRow { steps, tokens_per_second: canvas as f64 / (steps as f64 * ms_per_nfe * 1e-3) };
    Ok(Report {
        date: machine::today(),
        machine,
        model,
        device: args.device.device.to_string(),
        quant: args.quant.map(|format| format.to_string()),
        parameters: None,
        canvas,
        prefix,
        load_s,
        ms_per_nfe,
        rest_ms: ms_per_nfe - parts.iter().map(|part| part.ms).sum::<f64>(),
        parts,
        tokens_per_second: args.steps.iter().copied().filter(|steps| *steps <= canvas).map(rate).collect(),
        own_tokens_per_second: None,
        peak_memory_bytes: machine::peak_memory_bytes(),
    })
}

impl Report {
    fn text(&self) -> String {
        let row = |name: &str, ms: f64| {
            vec![name.to_string(), format!("{ms:.2}"), format!("{:.0}%", 100.0 * ms / self.ms_per_nfe)]
        };
        let parts = self.parts.iter().map(|part| row(part.part, part.ms));
        let rows: Vec<_> = parts.chain([row("the rest", self.rest_ms), row("a pass", self.ms_per_nfe)]).collect();
        let steps: Vec<_> = self
            .tokens_per_second
            .iter()
            .map(|row| vec![row.steps.to_string(), format!("{:.1}", row.tokens_per_second)])
            .collect();
        let mut text = vec![plain::table(&["PART", "MS", "OF PASS"], &rows)];
        if !steps.is_empty() {
            text.push(plain::table(&["STEPS A CANVAS", "TOKENS/S"], &steps));
        }
        let own = self.own_tokens_per_second.map(|own| format!("; {own:.0} tokens/s under its own settings"));
        let memory =
            self.peak_memory_bytes.map_or(String::new(), |bytes| format!(", at most {} of memory", plain::size(bytes)));
        text.push(format!(
            "{} on {}, canvas {} behind {} tokens, loaded in {:.2} s{memory}{}",
            self.model,
            self.device,
            self.canvas,
            self.prefix,
            self.load_s,
            own.unwrap_or_default()
        ));
        let Machine { cpu, threads, kernel } = &self.machine;
        text.push(format!("{}, {cpu}, {threads} threads, kernel {kernel}; medians over the passes", self.date));
        text.join("\n\n")
    }
}
