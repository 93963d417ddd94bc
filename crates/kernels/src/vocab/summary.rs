//! The pass over rows of logits: from V numbers to the few that a sampler wants.
//!
//! Without top-k and top-p a row is walked once. Top-k reads again the few groups that can hold one of the k; top-p walks
//! three times. Rows are independent, and a row is one thread's: the same bits for any number of rows and threads.

use rayon::prelude::*;

use super::filter::{Cut, filter};
use super::race::Race;
use super::top::top;
use super::transform::{Ranked, Row, Transform};
use super::walk::{Found, Plan, walk};
use crate::scalar::{exp, ln};

/// What is asked of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Request {
    /// The row, below N.
    pub row: usize,
    /// The key of its draw; none, as temperature 0, takes the most probable token.
    pub key: Option<u64>,
    /// A token whose probability is wanted.
    pub held: Option<u32>,
    /// How many of the most probable tokens are wanted, before top-k and top-p.
    pub top: usize,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The largest logit. Where it is not a finite number, no token or one without bound was allowed, and nothing else here
    /// has a meaning.
    pub max: f64,
    /// ln of the sum of exp(logit / temperature of the statistics).
    pub log_sum_exp: f64,
    /// The entropy in nats.
    pub entropy: f64,
    /// The most probable token; of equals the one of lower id.
    pub best: u32,
    /// Its probability.
    pub best_probability: f64,
    /// The second most probable token, if two have some probability before top-k and top-p.
    pub second: Option<u32>,
    /// The probability of the best minus that of the second.
    pub margin: f64,
    /// The token drawn.
    pub token: u32,
    /// Its probability.
    pub probability: f64,
    /// The probability of the token asked for; 0 where none was, NaN where its logit is.
    pub held: f64,
    /// The most probable tokens asked for, in order: fewer where fewer have some probability.
    pub top: Vec<Ranked>,
}

/// One pass over each row asked for of the logits `[N, V]`.
pub fn reduce(logits: &[f32], vocabulary: usize, requests: &[Request], transform: &Transform<'_>) -> Vec<Summary> {
    transform.check();
    check_rows(logits, vocabulary, requests.iter().map(|request| request.row));
    for_each_row(vocabulary, requests, |request| summarise(&row(logits, vocabulary, request.row, transform), request))
}

/// Values per parallel task, at least.
const VALUES_PER_TASK: usize = 1 << 15;

/// The answers for rows of V values, on several threads if it is worth to wake them.
pub(super) fn for_each_row<T: Sync, A: Send>(
    vocabulary: usize,
    rows: &[T],
    answer: impl Fn(&T) -> A + Sync + Send,
) -> Vec<A> {
    let rows_per_task = (VALUES_PER_TASK / vocabulary).max(1);
    if rows.len() <= rows_per_task {
        return rows.iter().map(answer).collect();
    }
    rows.par_iter().with_min_len(rows_per_task).map(answer).collect()
}

pub(super) fn check_rows(logits: &[f32], vocabulary: usize, rows: impl Iterator<Item = usize>) {
    assert!(vocabulary > 0 && logits.len().is_multiple_of(vocabulary), "vocab: the logits are not rows of V values");
    assert!(u32::try_from(vocabulary).is_ok(), "vocab: V must be below 2^32");
    let count = logits.len() / vocabulary;
    assert!(rows.max().is_none_or(|row| row < count), "vocab: a row is beyond the {count} of the logits");
}

pub(super) fn row<'a>(logits: &'a [f32], vocabulary: usize, row: usize, transform: &'a Transform<'a>) -> Row<'a> {
    Row::new(&logits[row * vocabulary..(row + 1) * vocabulary], transform)
}

fn summarise(row: &Row<'_>, request: &Request) -> Summary {
    let transform = row.transform();
    let temperature = transform.temperature;
    let key = request.key.filter(|_| temperature > 0.0);
    let cuts = transform.cuts(row.vocabulary());
    let plan = Plan {
        // What is counted after a cut is counted when it is known.
        heat: (!(cuts && transform.drawn_statistics)).then(|| transform.heat()),
        race: key.filter(|_| !cuts).map(|key| (key, temperature)),
        maxima: cuts || request.top > 0,
    };
    let found = walk(row, &plan);
    if !found.best.logit.is_finite() {
        return Summary::without_numbers(&found);
    }
    let (mut sums, mut race, mut cut) = (found.sums, found.race, None);
    if cuts {
        race = key.map(|key| Race::new(key, temperature, found.best.logit));
        let left = filter(row, &found, race.as_mut());
        if transform.drawn_statistics {
            (sums, cut) = (left.sums, left.cut);
        }
    }
    let drawn = race.and_then(|race| race.winner).unwrap_or(found.best);
    let log_sum = ln(sums.sum);
    let counts = |token: &Ranked| cut.is_none_or(|cut: Cut| cut.keeps(token));
    let probability = |token: &Ranked| if counts(token) { exp(sums.exponent(token.logit) - log_sum) } else { 0.0 };
    let held = request.held.filter(|held| (*held as usize) < row.vocabulary());
    let held = held.map(|token| Ranked { token, logit: row.logit(token) });
    let runner_up = if counts(&found.second) { exp(sums.exponent(found.second.logit)) } else { 0.0 };
    let mut ranked = top(row, request.top, &found.maxima);
    ranked.sort_unstable_by(Ranked::order);
    Summary {
        max: found.best.logit,
        log_sum_exp: sums.log_sum_exp(),
        entropy: sums.entropy(),
        best: found.best.token,
        best_probability: sums.sum.recip(),
        second: (found.second.logit > f64::NEG_INFINITY).then_some(found.second.token),
        margin: (1.0 - runner_up) / sums.sum,
        token: drawn.token,
        probability: probability(&drawn),
        held: held.map_or(0.0, |held| probability(&held)),
        top: ranked,
    }
}

impl Summary {
    fn without_numbers(found: &Found) -> Self {
        Self {
            max: found.best.logit,
            log_sum_exp: f64::NAN,
            entropy: f64::NAN,
            best: found.best.token,
            best_probability: f64::NAN,
            second: None,
            margin: f64::NAN,
            token: found.best.token,
            probability: f64::NAN,
            held: f64::NAN,
            top: Vec::new(),
        }
    }
}
