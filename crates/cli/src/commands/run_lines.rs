//! `lldm run --input`: a text for each line of a file. Results are appended one by one, and a run that was killed goes on
//! where it stopped: lines that have their result are passed over, and a torn last line is made again.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use indicatif::ProgressBar;
use lldm::{Layer, Output, Pipeline};
use lldm_models::Defaults;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run::{RunArgs, draw_seed};
use crate::constraints::cache;
use crate::render::plain;

/// What the input looks like.
const FORM: &str = "a line is {\"prompt\": ..., \"id\"?: ..., \"seed\"?: ...}";

/// How a line of results begins.
const BEGIN: &[u8] = b"{\"line\":";

/// A line of the input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    prompt: String,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    seed: Option<u64>,
    /// Counted from 1.
    #[serde(skip)]
    line: usize,
}

/// A line of the results.
#[derive(Serialize)]
struct Done<'a> {
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Value>,
    prompt: &'a str,
    #[serde(flatten)]
    output: &'a Output,
}

/// What is read of a line of the results.
#[derive(Deserialize)]
struct Earlier {
    line: usize,
    id: Option<Value>,
    model: String,
}

/// Runs the command. A line without a seed of its own has the run's seed plus its number counted from 0, so that
/// `lldm run --seed` makes each text again.
pub(super) fn run(args: &RunArgs, input: &Path, layers: Vec<Layer>) -> Result<()> {
    let request = args.sampling.request()?;
    args.constraints()?;
    if args.batch == 0 {
        bail!("--batch is 0, but at least 1 text is written at a time");
    }
    let tasks = read(input)?;
    let (mut out, done) = match &args.output {
        Some(path) => {
            let (file, done) = open(path, &args.model)?;
            (Results::File(file), done)
        }
        None => (Results::Stdout, HashSet::new()),
    };
    let pending: Vec<_> = tasks.iter().filter(|task| !done.contains(&task.key())).collect();
    let skipped = tasks.len() - pending.len();
    if skipped > 0 && !args.quiet {
        plain::note(&format!("{skipped} of {} lines have their result already", tasks.len()));
    }
    if pending.is_empty() {
        return Ok(());
    }
    let pipeline = Pipeline::load_on(&args.model, args.device.device)?.with_layers(layers).with_cache(cache());
    let seed = args.seed.unwrap_or_else(draw_seed);
    let bar = if args.quiet || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(pending.len() as u64)
    };
    for tasks in pending.chunks(args.batch) {
        // Where a batch fails, its lines one by one tell which it was, and those before it have their results.
        let parts = match write(args, &pipeline, &request, seed, tasks) {
            Ok(outputs) => vec![(tasks, Ok(outputs))],
            Err(_) => tasks.chunks(1).map(|task| (task, write(args, &pipeline, &request, seed, task))).collect(),
        };
        for (tasks, outputs) in parts {
            let outputs = outputs.map_err(|error| anyhow!("{} line {}: {error}", input.display(), tasks[0].line))?;
            for (task, output) in tasks.iter().zip(&outputs) {
                let done = Done { line: task.line, id: task.id.as_ref(), prompt: &task.prompt, output };
                out.append(&serde_json::to_string(&done)?)?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

enum Results {
    File(File),
    Stdout,
}

impl Results {
    fn append(&mut self, line: &str) -> Result<()> {
        match self {
            // One write, so that a line is whole or the last.
            Self::File(file) => file
                .write_all(format!("{line}\n").as_bytes())
                .and_then(|()| file.flush())
                .map_err(|error| anyhow!("cannot write the results: {error}")),
            Self::Stdout => Ok(plain::say(line)?),
        }
    }
}

impl Task {
    /// What tells a line from the others: its id, else its number.
    fn key(&self) -> String {
        key(self.id.as_ref(), self.line)
    }
}

fn key(id: Option<&Value>, line: usize) -> String {
    id.map_or_else(|| format!("line {line}"), |id| format!("id {id}"))
}

fn write(args: &RunArgs, pipeline: &Pipeline, request: &Defaults, seed: u64, tasks: &[&Task]) -> Result<Vec<Output>> {
    let prompts = tasks.iter().map(|task| {
        let seed = task.seed.unwrap_or(seed.wrapping_add(task.line as u64 - 1));
        args.prompt_of(&task.prompt).seed(seed)
    });
    let constraints = args.constraints.complete(args.constraints()?, pipeline)?;
    let generate = pipeline.generate_all(prompts.collect()).request(request.clone()).constraints(constraints);
    Ok(args.with_particles(generate).run_all()?)
}

fn read(path: &Path) -> Result<Vec<Task>> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| anyhow!("cannot read {place}: {error}; {FORM}"))?;
    let (mut tasks, mut seen) = (Vec::new(), HashSet::new());
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let task: Task = serde_json::from_str(text).map_err(|error| {
            anyhow!("{place} line {line}: {error}; a line is {{\"prompt\": ..., \"id\"?: ..., \"seed\"?: ...}}")
        })?;
        let task = Task { line, ..task };
        if !task.id.as_ref().is_none_or(|id| id.is_string() || id.is_number()) {
            bail!("{place} line {line}: an id is a text or a number");
        }
        if !seen.insert(task.key()) {
            bail!("{place} line {line}: {} was given to an earlier line, too", task.key());
        }
        tasks.push(task);
    }
    Ok(tasks)
}

/// Opens the results for appending, without a torn last line, and tells which are there.
fn open(path: &Path, model: &str) -> Result<(File, HashSet<String>)> {
    let place = path.display();
    let fail = |error: std::io::Error| anyhow!("cannot open {place}: {error}");
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fail(error)),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut done = HashSet::new();
    for (number, line) in (1..).zip(text[..whole].split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty()) {
        let earlier: Earlier = serde_json::from_slice(line)
            .map_err(|_| anyhow!("{place} line {number} is no result of `lldm run`: choose another --output"))?;
        if earlier.model != model {
            bail!("{place} holds results of model `{}`, not of `{model}`: choose another --output", earlier.model);
        }
        done.insert(key(earlier.id.as_ref(), earlier.line));
    }
    // Only a file of ours, which the lines above have shown it to be, is cut.
    if whole == 0 && !text.is_empty() && !text.starts_with(BEGIN) && !BEGIN.starts_with(&text) {
        bail!("{place} holds no result of `lldm run`: choose another --output");
    }
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    if whole < text.len() {
        file.set_len(whole as u64).map_err(fail)?;
    }
    Ok((file, done))
}
