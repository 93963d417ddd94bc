//! The whole set of cases, then more of them with other seeds until the time is over: `cargo xtask soak --minutes N --seed S` starts
//! it. Progress goes to stderr, a table in Markdown to stdout; whatever is wrong is told with what reproduces it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod suite;

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lldm::Pipeline;
use suite::{Kind, SAMPLERS, SCHEMAS, Tally, Turn, case, pairs, round_vectors, write_toys, write_with_model};

/// Each kind with the number of its cases.
const WHOLE: [(Kind, usize); 4] =
    [(Kind::Keywords, 1000), (Kind::Regexes, 1000), (Kind::Templates, 300), (Kind::Schemas, SCHEMAS)];
/// Every so many cases are rounded from vectors, too.
const ROUNDED: usize = 3;
const PROGRESS: Duration = Duration::from_secs(20);
/// How many faults are shown.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let (minutes, first) = match (argument("--minutes", "8").parse::<f64>(), argument("--seed", "1").parse::<u64>()) {
        (Ok(minutes), Ok(seed)) => (minutes, seed),
        _ => {
            eprintln!("usage: cargo xtask soak [--minutes N] [--seed S]");
            return ExitCode::FAILURE;
        }
    };
    let pipeline = Pipeline::load("embedded").expect("the default model is in the binary");
    let start = Instant::now();
    let over = Duration::from_secs_f64(minutes * 60.0);
    let mut tally = Tally::default();
    let mut seeds = 0;
    // The first seed goes to its end, however long that takes.
    while seeds == 0 || start.elapsed() < over {
        let seed = first + seeds;
        tally.add(round(&pipeline, seed, (seeds > 0).then_some((start, over))));
        seeds += 1;
        eprintln!("seed {seed}: {} texts, {} wrong, {:.0} s", tally.texts(), tally.faults.len(), seconds(start));
    }
    print!("{}", tally.table());
    let last = first + seeds - 1;
    println!(
        "\n{} texts in {:.0} s, seeds {first} to {last}, {} pairs of a sampler and a noise.",
        tally.texts(),
        seconds(start),
        pairs()
    );
    for fault in tally.faults.iter().take(SHOWN) {
        println!("\nwrong: {fault}");
    }
    if tally.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The value behind a flag.
fn argument(flag: &str, default: &str) -> String {
    let given = env::args().skip_while(|argument| argument != flag).nth(1);
    given.unwrap_or_else(|| default.to_string())
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// All cases of a seed, on all cores, until the time is over if there is one.
fn round(pipeline: &Pipeline, seed: u64, until: Option<(Instant, Duration)>) -> Tally {
    // The kinds take turns in proportion, so that a round that is cut off has met all of them.
    let mut cases: Vec<(Kind, usize, usize)> = Vec::new();
    for (kind, count) in WHOLE {
        cases.extend((0..count).map(|index| (kind, index, (index << 20) / count)));
    }
    cases.sort_by_key(|(_, _, place)| *place);
    let (next, tally) = (AtomicUsize::new(0), Mutex::new((Tally::default(), Instant::now())));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let over = until.is_some_and(|(start, over)| start.elapsed() >= over);
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((kind, index, _)) = cases.get(number).filter(|_| !over) else { break };
                    let own = work(pipeline, *kind, Turn { seed, index: *index });
                    let mut all = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    all.0.add(own);
                    if all.1.elapsed() >= PROGRESS {
                        all.1 = Instant::now();
                        eprintln!("seed {seed}: {number} of {}, {} wrong", cases.len(), all.0.faults.len());
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner).0
}

fn work(pipeline: &Pipeline, kind: Kind, turn: Turn) -> Tally {
    let mut tally = Tally::default();
    let case = case(kind, turn.seed, turn.index);
    write_toys(&case, turn, &mut tally);
    if turn.index.is_multiple_of(ROUNDED) {
        round_vectors(&case, turn, &mut tally);
    }
    let sampler = SAMPLERS[(turn.index + turn.seed as usize) % SAMPLERS.len()];
    write_with_model(pipeline, sampler, &case, turn, &mut tally);
    tally
}
