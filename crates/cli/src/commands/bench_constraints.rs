//! `lldm bench constraints`: by kind of constraint, what its compilation takes, what reading it from its file does, and what a step
//! under it adds: over a large vocabulary, and with a model's own tokenizer beside the model's own step.

use anyhow::{Result, bail};
use clap::Args;

use crate::constraint_bench::{Kind, Place, PlaceReport, Report, Rounds, kinds, measure, names};
use crate::machine::{self, Machine};
use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ConstraintsArgs {
    /// `embedded`, `toy`, or a folder: the model whose tokenizer and step are measured, too
    #[arg(short, long, value_name = "MODEL", default_value = "embedded")]
    model: String,
    /// Kinds whose names begin so, as in keywords or json_large [default: all]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<String>,
    /// States of the automata that count letters
    #[arg(long, value_delimiter = ',', default_value = "64,200,400")]
    states: Vec<usize>,
    /// Cells of the canvas; of the model as many as it sees
    #[arg(long, default_value_t = 256)]
    cells: usize,
    /// Tokens of the large vocabulary, which is made from a seed; 0 leaves it out
    #[arg(long, value_name = "TOKENS", default_value_t = 262_144)]
    vocabulary: usize,
    /// Rounds, of which each time is the median
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ConstraintsArgs) -> Result<()> {
    if args.rounds == 0 || args.cells == 0 || args.states.contains(&0) {
        bail!("--rounds, --cells and --states must be above 0");
    }
    let names = names()?;
    let known = |start: &String| names.iter().any(|name| name.starts_with(start) || start.starts_with(name));
    if let Some(unknown) = args.only.iter().find(|start| start.is_empty() || !known(start)) {
        bail!("there is no kind `{unknown}`; names begin with {}", names.join(", "));
    }
    let machine = Machine::detect()?;
    // On a thread of the pool, where a model's pass runs.
    let places = rayon::scope(|_| places(args))?;
    let report = Report { date: machine::today(), machine, rounds: args.rounds, places };
    if args.json { json_output::say(&report) } else { Ok(plain::say(&report.text())?) }
}

/// The kinds that are wanted, over the large vocabulary and over the model's.
fn places(args: &ConstraintsArgs) -> Result<Vec<PlaceReport>> {
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|start| name.starts_with(start.as_str()));
    let kinds: Vec<_> = kinds(&args.states)?.into_iter().filter(|kind| wanted(&kind.name)).collect();
    if kinds.is_empty() {
        bail!("--only and --states leave nothing: name numbers of states that are measured");
    }
    let rounds = Rounds(args.rounds);
    let mut places = Vec::new();
    if args.vocabulary > 0 {
        places.push(report(&Place::synthetic(args.vocabulary, args.cells)?, &kinds, rounds)?);
    }
    places.push(report(&Place::of_model(&args.model, args.cells, rounds)?, &kinds, rounds)?);
    Ok(places)
}

fn report(place: &Place, kinds: &[Kind], rounds: Rounds) -> Result<PlaceReport> {
    let (mut rows, mut left_out) = (Vec::new(), Vec::new());
    for kind in kinds {
        plain::note(&format!("measuring {} over {}", kind.name, place.name));
        match measure(kind, place, rounds)? {
            Some(row) => rows.push(row),
            None => left_out.push(kind.name.clone()),
        }
    }
    let (cells, step_ms) = (place.prediction.rows(), place.step_ms);
    Ok(PlaceReport { place: place.name.clone(), cells, step_ms, rows, left_out })
}
