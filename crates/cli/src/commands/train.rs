//! `lldm train`: from a recipe to a model folder, with the progress shown.

use std::io::IsTerminal;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lldm_train::data::Places;
use lldm_train::tracker::{Metrics, Tracker};
use lldm_train::{Error, Trainer};

use super::data::explained;
use crate::bundled;
use crate::render::plain;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// A recipe's file, or the name of one that comes with the program (`lldm recipes ls`)
    recipe: String,
    /// Settings that override the recipe's: train.steps=1000
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Go on from the last checkpoint of the recipe's output folder
    #[arg(long)]
    resume: bool,
}

/// Shows how a training goes.
struct Progress {
    bar: Option<ProgressBar>,
    held_out: Option<f64>,
}

/// Runs the command.
pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let recipe = bundled::recipe(&args.recipe, &args.overrides)?;
    let steps = recipe.train.steps;
    let mut progress = Progress::new(steps);
    progress.note(&format!("{}: reading the data", recipe.name));
    let trained = Trainer::new(recipe, &Places::from_env()?, args.resume).and_then(|mut trainer| {
        progress.note(&format!(
            "{} parameters, {} documents to train on, {} held out",
            plain::grouped(trainer.parameters()),
            plain::grouped(trainer.dataset().train.documents().len()),
            plain::grouped(trainer.dataset().held_out.documents().len()),
        ));
        if args.resume {
            progress.note(&format!("going on from step {}", trainer.progress().step));
        }
        progress.start(trainer.progress().step);
        trainer.run(&mut progress)
    });
    progress.close();
    let outcome = trained.map_err(|error| match error {
        Error::Data(error) => explained(&error),
        error => error.into(),
    })?;
    Ok(plain::say(&format!(
        "{}: {} parameters, {} tokens, held-out {:.4} bits/byte ({})",
        outcome.model.display(),
        plain::grouped(outcome.parameters),
        plain::grouped(usize::try_from(outcome.tokens)?),
        outcome.held_out_bits_per_byte,
        if outcome.bound { "bound" } else { "exact" },
    ))?)
}

impl Progress {
    fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg} ETA {eta}");
            ProgressBar::new(steps as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, held_out: None }
    }

    fn start(&self, step: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(step as u64);
            bar.reset_eta();
        }
    }

    fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Tracker for Progress {
    fn record(&mut self, metrics: &Metrics) -> lldm_train::Result<()> {
        self.held_out = metrics.held_out_bits_per_byte.or(self.held_out);
        let held_out = self.held_out.map(|bits| format!(", held-out {bits:.4} bits/byte")).unwrap_or_default();
        let line = format!("loss {:.4}{held_out}, {:.0} tokens/s", metrics.loss, metrics.tokens_per_second);
        match &self.bar {
            Some(bar) => {
                bar.set_position(metrics.step as u64);
                bar.set_message(line);
            }
            None => plain::note(&format!("step {}/{}: {line}", metrics.step, metrics.steps)),
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => plain::note(text),
        }
    }
}
