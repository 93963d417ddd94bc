//! Class statistics of rows: for each class of a partition of the tokens its probability, its most probable token and an
//! exact draw from it.
//!
//! The first walk finds the maximum; the second has the weights and the random bits from the lanes and adds them to their
//! classes one by one, in f64. Weights are f32, with the rounding of their exponents taken back: the relative error of a
//! class's sum is below 4e-7 at any distance from the maximum. Tokens more than 80 nats below the maximum are weighed in f64.
//! The sums by class are a log-sum-exp each (a segmented softmax); the draws are races as in `race.rs`, one a class, so that a class's
//! draw is exact whatever the others hold.

use super::lanes::VocabSimd;
use super::race::Race;
use super::stream::STEP;
use super::summary::{check_rows, for_each_row, row};
use super::transform::{Buffer, CHUNK, Ranked, Row, Transform};
use super::walk::{Plan, walk};
use crate::exp::{LOWEST, exp_clamped};
use crate::scalar::{exp, ln};
use crate::simd::{LANES, dispatch};

/// A partition of the V tokens.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// The class of each token, below `count`.
    pub of: &'a [u16],
    /// The number of classes.
    pub count: usize,
}

/// What a class of a row says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassSummary {
    /// ln of the summed probability; minus infinity for a class without an allowed token.
    pub log_sum: f64,
    /// The most probable token.
    pub best: u32,
    /// Its log probability.
    pub log_best: f64,
    /// An exact draw of a token given the class, at the transform's temperature (at 1 for temperature 0).
    pub drawn: u32,
}

/// The class statistics of every row of the logits `[N, V]`; `keys` `[N]` holds the key of each row's draws. Top-k and top-p do
/// not act here: they could leave a class nothing. All is NaN in a row without an allowed token, or with one without bound.
pub fn class_summaries(
    logits: &[f32],
    vocabulary: usize,
    keys: &[u64],
    classes: Classes<'_>,
    transform: &Transform<'_>,
) -> Vec<Vec<ClassSummary>> {
    transform.check();
    check_rows(logits, vocabulary, 0..keys.len());
    assert!(classes.of.len() == vocabulary, "vocab: classes must hold a class for each token");
    assert!(
        classes.of.iter().all(|class| usize::from(*class) < classes.count),
        "vocab: a class is beyond their number"
    );
    let keys: Vec<_> = keys.iter().copied().enumerate().collect();
    for_each_row(vocabulary, &keys, |(at, key)| summarise(&row(logits, vocabulary, *at, transform), classes, *key))
}

/// Below the maximum by more than this, weights are f64.
const FAR: f32 = -80.0;

/// The best and the race of a class's unchanged tokens.
#[derive(Clone, Copy)]
struct Leaders {
    best: f32,
    /// The race's limit for the ratio of a lane's uniform and weight.
    limit: f32,
    /// The token of the best.
    token: u32,
}

/// The classes of a row.
struct Table<'a> {
    of: &'a [u16],
    /// The largest unchanged logit.
    max: f32,
    inverse_temperature: f32,
    /// The weights of each class's unchanged tokens, from their maximum, as four sums: most tokens may be of one class, and each
    /// would wait for the one before.
    sums: Vec<[f64; 4]>,
    leaders: Vec<Leaders>,
    races: Vec<Race>,
}

fn summarise(row: &Row<'_>, classes: Classes<'_>, key: u64) -> Vec<ClassSummary> {
    let found = walk(row, &Plan { heat: None, race: None, maxima: false });
    let (max, unchanged) = (found.best.logit, f64::from(found.unchanged));
    if !max.is_finite() {
        let nothing = ClassSummary { log_sum: f64::NAN, best: 0, log_best: f64::NAN, drawn: 0 };
        return vec![nothing; classes.count];
    }
    let temperature = row.transform().filter_temperature();
    let race = Race::new(key, temperature, max);
    let mut table = Table {
        of: classes.of,
        max: found.unchanged,
        inverse_temperature: temperature.recip() as f32,
        sums: vec![[0.0; 4]; classes.count],
        leaders: vec![Leaders { best: f32::NEG_INFINITY, limit: f32::INFINITY, token: 0 }; classes.count],
        races: vec![race; classes.count],
    };
    if unchanged > f64::NEG_INFINITY {
        fill(row, &mut table);
    }

    let scale = exp(unchanged - max);
    let best = |leaders: &Leaders| Ranked { token: leaders.token, logit: f64::from(leaders.best) };
    let sum = |[a, b, c, d]: &[f64; 4]| ((a + b) + (c + d)) * scale;
    let mut sums: Vec<_> = table.sums.iter().map(sum).zip(table.leaders.iter().map(best)).collect();
    for token in &row.changed {
        let class = usize::from(classes.of[token.token as usize]);
        let (sum, best) = &mut sums[class];
        *sum += exp(token.logit - max);
        if token.before(best) {
            *best = *token;
        }
        table.races[class].enter(*token);
    }
    let log_total = ln(sums.iter().map(|(sum, _)| sum).sum());
    let summary = |((sum, best), race): ((f64, Ranked), Race)| ClassSummary {
        log_sum: ln(sum) - log_total,
        best: best.token,
        log_best: best.logit - max - log_total,
        drawn: race.winner.unwrap_or(best).token,
    };
    sums.into_iter().zip(table.races).map(summary).collect()
}

fn fill(row: &Row<'_>, table: &mut Table<'_>) {
    dispatch!(fill_body(row: &Row<'_>, table: &mut Table<'_>))
}

#[inline(always)]
fn fill_body<S: VocabSimd>(s: S, row: &Row<'_>, table: &mut Table<'_>) {
    let (mut buffer, mut weights, mut ratios) = (Buffer::new(), Buffer::new(), Buffer::new());
    let temperate = table.inverse_temperature == 1.0;
    let (max, far, lowest) = (s.splat(table.max), s.splat(FAR), s.splat(LOWEST));
    let inverse_temperature = s.splat(table.inverse_temperature);
    let (impossible, largest_ratio) = (s.splat(f32::NEG_INFINITY), s.splat(f32::MAX));
    for index in 0..row.chunks() {
        let start = index * CHUNK;
        let values = row.chunk(s, index, &mut buffer);
        let counter = table.races.first().map_or(0, |race| race.counter(start));
        for at in (0..values.len()).step_by(LANES) {
            s.fetch(row.place(index + 1).wrapping_add(at));
            let x = s.load(&values[at..]);
            let difference = s.sub(x, max);
            // What the difference lost in rounding (Knuth, TAOCP volume 2, section 4.2.2, theorem B).
            let taken = s.sub(difference, x);
            let lost = s.sub(s.sub(x, s.sub(difference, taken)), s.add(max, taken));
            // A NaN becomes what is impossible.
            let exponent = s.max(difference, impossible);
            let weight = exp_clamped(s, s.max(exponent, lowest));
            let race_weight =
                if temperate { weight } else { exp_clamped(s, s.max(s.mul(exponent, inverse_temperature), lowest)) };
            s.store(s.zero_where_less(exponent, far, s.fma(weight, lost, weight)), &mut weights.0[at..]);
            let uniform = s.top_bits(counter.wrapping_add(STEP.wrapping_mul(at as u64)));
            let ratio = s.min(s.div(uniform, race_weight), largest_ratio);
            // What is far is always settled, what is impossible never.
            let far_ratio = s.choose_less(impossible, exponent, s.splat(-1.0), s.splat(f32::INFINITY));
            s.store(s.choose_less(exponent, far, far_ratio, ratio), &mut ratios.0[at..]);
        }
        let classes = &table.of[start..table.of.len().min(start + CHUNK)];
        let tokens = classes.iter().zip(values).zip(weights.0.iter().zip(&ratios.0));
        for (at, ((class, logit), (weight, ratio))) in tokens.enumerate() {
            table.sums[usize::from(*class)][at % 4] += f64::from(*weight);
            let leaders = &table.leaders[usize::from(*class)];
            if (*logit > leaders.best) | (*ratio < leaders.limit) {
                table.settle(start + at, *logit, *ratio);
            }
        }
    }
}

impl Table<'_> {
    /// A token that may be the best or win the race, or whose weight is no f32.
    #[cold]
    #[inline(never)]
    fn settle(&mut self, token: usize, logit: f32, ratio: f32) {
        let class = usize::from(self.of[token]);
        let (leaders, race) = (&mut self.leaders[class], &mut self.races[class]);
        if logit > leaders.best {
            (leaders.best, leaders.token) = (logit, token as u32);
        }
        if logit - self.max < FAR {
            self.sums[class][token % 4] += exp(f64::from(logit) - f64::from(self.max));
        }
        let ranked = Ranked { token: token as u32, logit: f64::from(logit) };
        if ratio < leaders.limit && !race.is_hopeless(ranked.logit) && race.enter(ranked) {
            leaders.limit = race.lane_limit(self.max);
        }
    }
}
