//! Class statistics of rows: for each class of a partition of the tokens its probability, its entropy, its most probable token and
//! an exact draw from it, all of the distribution that is drawn from.
//!
//! The first walk finds the maximum; the second has the weights and the random bits from the lanes and adds them to their
//! classes one by one, in f64. Weights are f32, with the rounding of their exponents taken back (of the difference, of the product
//! with the inverse temperature, and of that itself): the relative error of a class's sum is below 4e-7 at any distance from the
//! maximum. Tokens more than 80 nats below the maximum are weighed in f64.
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

/// What a class of a row says, at the transform's temperature (at 1 for temperature 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassSummary {
    /// ln of the summed probability; minus infinity for a class without an allowed token.
    pub log_sum: f64,
    /// The entropy within the class, in nats.
    pub entropy: f64,
    /// The most probable token.
    pub best: u32,
    /// Its log probability.
    pub log_best: f64,
    /// The log probability of the second most probable.
    pub log_second: f64,
    /// An exact draw of a token given the class.
    pub drawn: u32,
    /// Its log probability.
    pub log_drawn: f64,
}

/// The class statistics of rows of the logits `[N, V]`, each with the key of its draws. Top-k and top-p do
/// not act here: they could leave a class nothing. All is NaN in a row without an allowed token, or with one without bound.
pub fn class_summaries(
    logits: &[f32],
    vocabulary: usize,
    rows: &[(usize, u64)],
    classes: Classes<'_>,
    transform: &Transform<'_>,
) -> Vec<Vec<ClassSummary>> {
    transform.check();
    check_rows(logits, vocabulary, rows.iter().map(|(row, _)| *row));
    assert!(classes.of.len() == vocabulary, "vocab: classes must hold a class for each token");
    assert!(
        classes.of.iter().all(|class| usize::from(*class) < classes.count),
        "vocab: a class is beyond their number"
    );
    for_each_row(vocabulary, rows, |(at, key)| summarise(&row(logits, vocabulary, *at, transform), classes, *key))
}

/// Below the maximum by more than this, after the temperature, weights are f64.
const FAR: f32 = -80.0;

/// The best and the race of a class's unchanged tokens.
#[derive(Clone, Copy)]
struct Leaders {
    best: f32,
    second: f32,
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
    temperature: f64,
    inverse_temperature: f32,
    /// The weights of each class's unchanged tokens, from their maximum, as four sums: most tokens may be of one class, and each
    /// would wait for the one before. Beside each, the sum of weight times exponent.
    sums: Vec<[[f64; 2]; 4]>,
    leaders: Vec<Leaders>,
    races: Vec<Race>,
}

fn summarise(row: &Row<'_>, classes: Classes<'_>, key: u64) -> Vec<ClassSummary> {
    let found = walk(row, &Plan { heat: None, race: None, maxima: false });
    let (max, unchanged) = (found.best.logit, f64::from(found.unchanged));
    if !max.is_finite() {
        let (nan, none) = (f64::NAN, 0);
        let nothing = ClassSummary {
            log_sum: nan,
            entropy: nan,
            best: none,
            log_best: nan,
            log_second: nan,
            drawn: none,
            log_drawn: nan,
        };
        return vec![nothing; classes.count];
    }
    let temperature = row.transform().filter_temperature();
    let race = Race::new(key, temperature, max);
    let none = f32::NEG_INFINITY;
    let mut table = Table {
        of: classes.of,
        max: found.unchanged,
        temperature,
        inverse_temperature: temperature.recip() as f32,
        sums: vec![[[0.0; 2]; 4]; classes.count],
        leaders: vec![Leaders { best: none, second: none, limit: f32::INFINITY, token: 0 }; classes.count],
        races: vec![race; classes.count],
    };
    if unchanged > f64::NEG_INFINITY {
        fill(row, &mut table);
    }

    // From the largest unchanged logit to the largest of all.
    let tempered = |logit: f64| (logit - max) / temperature;
    let shift = if unchanged > f64::NEG_INFINITY { tempered(unchanged) } else { 0.0 };
    let scale = exp(shift);
    let mut states: Vec<_> =
        table.sums.iter().zip(&table.leaders).map(|(sums, leaders)| State::new(sums, leaders)).collect();
    for state in &mut states {
        state.weighted = (state.weighted + shift * state.sum) * scale;
        state.sum *= scale;
    }
    for token in &row.changed {
        let class = usize::from(classes.of[token.token as usize]);
        let exponent = tempered(token.logit);
        states[class].add(*token, exp(exponent), exponent);
        table.races[class].enter(*token);
    }
    let log_total = ln(states.iter().map(|state| state.sum).sum());
    let summary = |(state, race): (State, Race)| {
        let log_sum = ln(state.sum);
        let drawn = race.winner.unwrap_or(state.best);
        ClassSummary {
            log_sum: log_sum - log_total,
            entropy: if state.sum > 0.0 { (log_sum - state.weighted / state.sum).max(0.0) } else { 0.0 },
            best: state.best.token,
            log_best: tempered(state.best.logit) - log_total,
            log_second: tempered(state.second) - log_total,
            drawn: drawn.token,
            log_drawn: tempered(drawn.logit) - log_total,
        }
    };
    states.into_iter().zip(table.races).map(summary).collect()
}

/// What is known of a class.
struct State {
    sum: f64,
    weighted: f64,
    best: Ranked,
    second: f64,
}

impl State {
    fn new(sums: &[[f64; 2]; 4], leaders: &Leaders) -> Self {
        let joined = |at: usize| (sums[0][at] + sums[1][at]) + (sums[2][at] + sums[3][at]);
        let best = Ranked { token: leaders.token, logit: f64::from(leaders.best) };
        Self { sum: joined(0), weighted: joined(1), best, second: f64::from(leaders.second) }
    }

    fn add(&mut self, token: Ranked, weight: f64, exponent: f64) {
        self.sum += weight;
        if weight > 0.0 {
            self.weighted += weight * exponent;
        }
        if token.before(&self.best) {
            (self.second, self.best) = (self.best.logit, token);
        } else {
            self.second = self.second.max(token.logit);
        }
    }
}

fn fill(row: &Row<'_>, table: &mut Table<'_>) {
    dispatch!(fill_body(row: &Row<'_>, table: &mut Table<'_>))
}

#[inline(always)]
fn fill_body<S: VocabSimd>(s: S, row: &Row<'_>, table: &mut Table<'_>) {
    let (mut buffer, mut weights, mut weighted, mut ratios) =
        (Buffer::new(), Buffer::new(), Buffer::new(), Buffer::new());
    let (max, far, lowest) = (s.splat(table.max), s.splat(FAR), s.splat(LOWEST));
    let inverse = table.inverse_temperature;
    let rest = (table.temperature.recip() - f64::from(inverse)) as f32;
    let (inverse, inverse_rest, zero) = (s.splat(inverse), s.splat(rest), s.splat(0.0));
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
            let difference = s.max(difference, impossible);
            let exponent = s.mul(difference, inverse);
            // What the product and the inverse temperature lost.
            let lost = s.fma(
                lost,
                inverse,
                s.fma(difference, inverse_rest, s.fma(difference, inverse, s.sub(zero, exponent))),
            );
            let race_weight = exp_clamped(s, s.max(exponent, lowest));
            let weight = s.zero_where_less(exponent, far, s.fma(race_weight, lost, race_weight));
            s.store(weight, &mut weights.0[at..]);
            s.store(s.zero_where_less(exponent, far, s.mul(weight, exponent)), &mut weighted.0[at..]);
            let uniform = s.top_bits(counter.wrapping_add(STEP.wrapping_mul(at as u64)));
            let ratio = s.min(s.div(uniform, race_weight), largest_ratio);
            // What is far is always settled, what is impossible never.
            let far_ratio = s.choose_less(impossible, difference, s.splat(-1.0), s.splat(f32::INFINITY));
            s.store(s.choose_less(exponent, far, far_ratio, ratio), &mut ratios.0[at..]);
        }
        let classes = &table.of[start..table.of.len().min(start + CHUNK)];
        let tokens = classes.iter().zip(values).zip(weights.0.iter().zip(&weighted.0)).zip(&ratios.0);
        for (at, (((class, logit), (weight, weighted)), ratio)) in tokens.enumerate() {
            let [sum, products] = &mut table.sums[usize::from(*class)][at % 4];
            *sum += f64::from(*weight);
            *products += f64::from(*weighted);
            let leaders = &table.leaders[usize::from(*class)];
            if (*logit > leaders.second) | (*ratio < leaders.limit) {
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
            (leaders.second, leaders.best, leaders.token) = (leaders.best, logit, token as u32);
        } else if logit > leaders.second {
            leaders.second = logit;
        }
        if (logit - self.max) * self.inverse_temperature < FAR {
            let exponent = (f64::from(logit) - f64::from(self.max)) / self.temperature;
            let (weight, [sum, weighted]) = (exp(exponent), &mut self.sums[class][token % 4]);
            *sum += weight;
            if weight > 0.0 {
                *weighted += weight * exponent;
            }
        }
        let ranked = Ranked { token: token as u32, logit: f64::from(logit) };
        if ratio < leaders.limit && !race.is_hopeless(ranked.logit) && race.enter(ranked) {
            leaders.limit = race.lane_limit(self.max);
        }
    }
}
