//! One kind of constraint in one place: medians over rounds in which all parts take their turns.

use std::time::Instant;

use anyhow::{Result, bail};
use lldm::control::cache::Origin;
use lldm::control::{Cache, Chain, Compiled, Error, Joint, Place as TextPlace, Row as ChainRow};
use lldm::diffusion::prediction::RowRequest;
use lldm::diffusion::rng::{Purpose, Rng};
use lldm::diffusion::vocabulary::{ClassStat, Draw};
use lldm::diffusion::{Canvas, Constraint, ConstraintView, LogitTransform};
use lldm_eval::median;

use super::kinds::Kind;
use super::place::Place;
use super::report::Row;

/// How many rounds there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds(pub(crate) usize);

/// Tokens that may follow the canvas.
const ROOM: usize = 512;

/// The parts that are timed.
#[derive(Clone, Copy)]
enum Part {
    Bytes,
    Lift,
    Cache,
    Classes,
    Plain,
    Messages,
    Draw,
    Marginals,
    Entropies,
    Best,
    Whole,
}

/// How many parts there are.
const PARTS: usize = Part::Whole as usize + 1;

/// Milliseconds of each part in each round.
#[derive(Default)]
struct Times([Vec<f64>; PARTS]);

impl Times {
    /// Runs a part and notes its time.
    fn of<T>(&mut self, part: Part, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let out = run();
        self.note(part, 1e3 * start.elapsed().as_secs_f64());
        out
    }

    fn note(&mut self, part: Part, ms: f64) {
        self.0[part as usize].push(ms);
    }
}

/// What is asked of a plain pass: a draw in every row.
pub(super) fn requests(cells: usize) -> Vec<RowRequest<'static>> {
    (0..cells).map(|row| RowRequest { row, draw: Draw::Key(row as u64), held: None }).collect()
}

/// Measures a kind in a place; `None` where no text is possible: the tokens cannot spell any, or the prediction excludes all.
pub(crate) fn measure(kind: &Kind, place: &Place, rounds: Rounds) -> Result<Option<Row>> {
    let folder = tempfile::tempdir()?;
    let cache = || Cache::default().with_folder(folder.path(), Cache::FILE_BYTES);
    let first = match kind.constraints.compile_cached(&place.vocabulary, Joint::None, &cache()) {
        Err(Error::Empty { .. }) => return Ok(None),
        first => first?,
    };
    let mut times = Times::default();
    for _ in 0..rounds.0 {
        let figures = kind.constraints.compile(&place.vocabulary, Joint::None)?.figures();
        times.note(Part::Bytes, 1e3 * figures.bytes.as_secs_f64());
        times.note(Part::Lift, 1e3 * figures.lift.as_secs_f64());
        let read =
            times.of(Part::Cache, || kind.constraints.compile_cached(&place.vocabulary, Joint::None, &cache()))?;
        if read.figures().origin != Origin::File {
            bail!("the file of `{}` was not found again", kind.name);
        }
    }
    match step(&first, place, rounds, &mut times) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Empty { .. })) => return Ok(None),
        done => done?,
    }
    let figures = first.figures();
    let ms = |part: Part| median(times.0[part as usize].clone());
    let chain_ms = ms(Part::Messages) + ms(Part::Draw) + ms(Part::Marginals) + ms(Part::Entropies);
    // The pass over the classes stands in the place of the plain one.
    let added_ms = (ms(Part::Classes) - ms(Part::Plain)).max(0.0) + ms(Part::Whole);
    Ok(Some(Row {
        kind: kind.name.clone(),
        byte_states: figures.byte_states,
        states: figures.states,
        classes: figures.classes,
        bytes_ms: ms(Part::Bytes),
        lift_ms: ms(Part::Lift),
        cache_ms: ms(Part::Cache),
        plain_pass_ms: ms(Part::Plain),
        class_pass_ms: ms(Part::Classes),
        messages_ms: ms(Part::Messages),
        draw_ms: ms(Part::Draw),
        marginals_ms: ms(Part::Marginals),
        entropies_ms: ms(Part::Entropies),
        chain_ms,
        most_probable_ms: ms(Part::Best),
        constrained_ms: ms(Part::Whole),
        added_ms,
        of_step: place.step_ms.map(|step| added_ms / step),
    }))
}

/// Steps under a constraint: the passes over the logits, the chain part by part, and the whole draw as a run does it.
fn step(compiled: &Compiled, place: &Place, rounds: Rounds, times: &mut Times) -> Result<()> {
    let (cells, transform) = (place.prediction.rows(), LogitTransform::default());
    let keys: Vec<_> = (0..cells).map(|row| (row, row as u64)).collect();
    let asked = requests(cells);
    let canvas = Canvas::noisy(vec![0; cells]);
    let leans = vec![None; cells];
    let mut run = compiled.start(cells + ROOM)?;
    for round in 0..rounds.0 {
        let rng = Rng::new(round as u64, 0).at(0, 0);
        times.of(Part::Plain, || place.prediction.propose(&asked, &transform))?;
        let classes = || place.prediction.class_stats(compiled.class_of(), compiled.classes(), &keys, &transform);
        let stats = times.of(Part::Classes, classes)?;

        let of = |number: fn(&ClassStat) -> f64| -> Vec<Vec<f64>> {
            stats.iter().map(|row| row.iter().map(number).collect()).collect()
        };
        let (sums, best, within) = (of(|stat| stat.log_sum), of(|stat| stat.log_best), of(|stat| stat.entropy));
        let rows: Vec<_> = sums.iter().map(|row| ChainRow::Free(row)).collect();
        let best: Vec<_> = best.iter().map(|row| ChainRow::Free(row)).collect();
        let chain = times.of(Part::Messages, || Chain::new(compiled.automaton(), TextPlace::start(ROOM), &rows))?;
        times.of(Part::Draw, || chain.draw(|cell| rng.uniform(cell, Purpose::Constraint)));
        let marginals = times.of(Part::Marginals, || chain.marginals());
        times.of(Part::Entropies, || marginals.entropies(&within));
        times.of(Part::Best, || chain.most_probable(&best));

        let view = ConstraintView {
            canvas: &canvas,
            given: &[],
            ends_from: 0,
            stats: &stats,
            leans: &leans,
            banned: &[],
            greedy: false,
            rng: &rng,
            purpose: Purpose::Constraint,
        };
        times.of(Part::Whole, || run.draw(&view))?;
    }
    Ok(())
}
