//! Exact top-p over a whole row without a sort: the smallest set of most probable tokens that holds a probability
//! (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751, section 3.1).
//!
//! The second walk sums the weights in f64 by their distance from the maximum, in buckets of 1/22 of a nat. In one of them
//! the sum crosses p. The third walk collects the tokens of that bucket, in which the crossing is found by selection, and
//! races the tokens before it.

use super::exp64::exp64;
use super::filter::{Cut, Left, Wanted, crossing};
use super::lanes::VocabSimd;
use super::race::Race;
use super::stream::STEP;
use super::sums::Sums;
use super::transform::{BLOCK, Buffer, CHUNK, Ranked, Row};
use super::walk::{Found, exponents, largest};
use crate::exp::exp_clamped;
use crate::simd::{LANES, dispatch};

const BUCKETS: usize = 1024;
const BUCKETS_PER_NAT: f64 = 22.0;

/// The exponents of a row's tokens and their buckets.
#[derive(Clone, Copy)]
struct Scale {
    max: f64,
    temperature: f64,
    inverse_temperature: f64,
}

/// The sums of exp(x) and exp(x) · x over the exponents x in each bucket. What is further than the last bucket from the
/// maximum, in all less than 1e-14 of the weight, may be left out or counts in the last.
struct Histogram {
    sums: [[f64; 2]; BUCKETS],
}

/// The tokens around the crossing bucket.
struct Nucleus<'a> {
    scale: Scale,
    /// The bucket in which the sum crosses what is wanted.
    bucket: usize,
    /// Its tokens.
    tokens: Vec<Ranked>,
    race: Option<&'a mut Race>,
}

/// Cuts a row that the first walk has seen; what is left enters the race.
pub(super) fn nucleus(row: &Row<'_>, found: &Found, race: Option<&mut Race>) -> Left {
    let temperature = row.transform().filter_temperature();
    let scale = Scale { max: found.best.logit, temperature, inverse_temperature: temperature.recip() };
    let mut histogram = Histogram { sums: [[0.0; 2]; BUCKETS] };
    fill(row, &scale, &mut histogram);
    row.changed.iter().for_each(|token| histogram.add(scale.exponent(token.logit)));
    let sums = &histogram.sums;
    let all = sums.iter().map(|sums| sums[0]).sum();
    let wanted = Wanted::new(row.transform(), all);

    // What lies before the crossing bucket.
    let ([mut sum, mut weighted], mut bucket) = ([0.0; 2], 0);
    while bucket < BUCKETS - 1 && !wanted.is_crossed(sum + sums[bucket][0]) {
        sum += sums[bucket][0];
        weighted += sums[bucket][1];
        bucket += 1;
    }
    let mut nucleus = Nucleus { scale, bucket, tokens: Vec::new(), race };
    for token in &row.changed {
        nucleus.see(*token);
    }
    collect(row, &found.maxima, &mut nucleus);
    let Nucleus { mut tokens, race, .. } = nucleus;

    let weight = |token: &Ranked| exp64(scale.exponent(token.logit));
    let cut = match crossing(&mut tokens, sum, wanted, weight) {
        Some(token) => Some(Cut::at(token, &found.best, wanted)),
        None if bucket == BUCKETS - 1 => None,
        // Rounding: the sum crosses with the last token of the bucket.
        None => tokens.iter().copied().max_by(Ranked::order).map(Cut::behind),
    };
    tokens.retain(|token| cut.is_none_or(|cut| cut.keeps(token)));
    for token in &tokens {
        sum += weight(token);
        weighted += weight(token) * scale.exponent(token.logit);
    }
    if let Some(race) = race {
        let limit = race.limit(f64::from(scale.edges(bucket).1));
        tokens.iter().for_each(|token| race.enter_below(*token, limit));
    }
    let mut sums = Sums::new(temperature);
    sums.add(scale.max, sum, weighted);
    Left { cut, sums }
}

fn fill(row: &Row<'_>, scale: &Scale, histogram: &mut Histogram) {
    dispatch!(fill_body(row: &Row<'_>, scale: &Scale, histogram: &mut Histogram))
}

#[inline(always)]
fn fill_body<S: VocabSimd>(s: S, row: &Row<'_>, scale: &Scale, histogram: &mut Histogram) {
    let mut buffer = Buffer::new();
    let far = s.splat(scale.far());
    let (mut weights, mut weighted, mut buckets) = ([0.0; BLOCK], [0.0; BLOCK], [0u32; BLOCK]);
    for index in 0..row.chunks() {
        for values in row.chunk(s, index, &mut buffer).chunks_exact(BLOCK) {
            let is_far = |lanes: &[f32]| s.less_mask(s.load(lanes), far) == u32::from(u16::MAX);
            if values.chunks_exact(LANES).all(is_far) {
                continue;
            }
            for i in 0..BLOCK {
                let exponent = scale.exponent(f64::from(values[i]));
                weights[i] = exp64(exponent);
                weighted[i] = weights[i] * exponent;
                buckets[i] = bucket_of(exponent);
            }
            for i in 0..BLOCK {
                let sums = &mut histogram.sums[buckets[i] as usize % BUCKETS];
                sums[0] += weights[i];
                sums[1] += weighted[i];
            }
        }
    }
}

fn collect(row: &Row<'_>, maxima: &[f32], nucleus: &mut Nucleus<'_>) {
    dispatch!(collect_body(row: &Row<'_>, maxima: &[f32], nucleus: &mut Nucleus<'_>))
}

#[inline(always)]
fn collect_body<S: VocabSimd>(s: S, row: &Row<'_>, maxima: &[f32], nucleus: &mut Nucleus<'_>) {
    let mut buffer = Buffer::new();
    let (low, high) = nucleus.scale.edges(nucleus.bucket);
    let (low, high) = (s.splat(low), s.splat(high));
    let inverse_temperature = s.splat(nucleus.scale.inverse_temperature as f32);
    for (index, maxima) in maxima.as_chunks().0.iter().enumerate() {
        let max = largest(s, maxima);
        if s.less_mask(low, s.splat(max)) == 0 {
            continue;
        }
        let counter = nucleus.race.as_ref().map(|race| race.counter(index * CHUNK));
        let mut race_limit = nucleus.race.as_ref().map_or(0.0, |race| race.lane_limit(max));
        for (block, values) in row.chunk(s, index, &mut buffer).chunks_exact(BLOCK).enumerate() {
            let mut running = 0u64;
            for (vector, lanes) in values.chunks_exact(LANES).enumerate() {
                let x = s.load(lanes);
                let not_after = s.less_mask(low, x);
                if not_after == 0 {
                    continue;
                }
                let before = s.less_mask(high, x);
                let first = block * BLOCK + vector * LANES;
                if let Some(counter) = counter {
                    let weight = exp_clamped(s, exponents(s, lanes, s.splat(max), inverse_temperature));
                    let uniform = s.top_bits(counter.wrapping_add(STEP.wrapping_mul(first as u64)));
                    let not_lost = s.less_mask(uniform, s.mul(s.splat(race_limit), weight));
                    running |= u64::from(before & not_lost) << (vector * LANES);
                }
                if not_after & !before != 0 {
                    nucleus.see_lanes(not_after & !before, lanes, index * CHUNK + first);
                }
            }
            if running != 0
                && let Some(race) = &mut nucleus.race
            {
                race.enter_block(running, values, index * CHUNK + block * BLOCK);
                race_limit = race.lane_limit(max);
            }
        }
    }
}

/// The bucket of an exponent, which is at most 0: the nearest whole number of steps.
#[inline(always)]
fn bucket_of(exponent: f64) -> u32 {
    // 1.5 · 2^52: adding it leaves the nearest integer in the lowest bits.
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let place = exponent * -BUCKETS_PER_NAT;
    let last = (BUCKETS - 1) as f64;
    ((if place < last { place } else { last }) + ROUNDER).to_bits() as u32
}

impl Scale {
    /// The exponent of a logit, which is nowhere below -700; what is no number has no weight.
    #[inline(always)]
    fn exponent(&self, logit: f64) -> f64 {
        let exponent = (logit - self.max) * self.inverse_temperature;
        if exponent > -700.0 { exponent } else { -700.0 }
    }

    /// The logits of a bucket lie above the first and not above the second.
    fn edges(&self, bucket: usize) -> (f32, f32) {
        let low = if bucket == BUCKETS - 1 { f32::NEG_INFINITY } else { self.edge(bucket as f64 + 0.5, -1.0) };
        (low, self.edge(bucket as f64 - 0.5, 1.0))
    }

    /// The logits below it are beyond all buckets.
    fn far(&self) -> f32 {
        self.edge(BUCKETS as f64, -1.0)
    }

    /// The logit this many buckets below the maximum, and to that side a little more than rounding can do.
    fn edge(&self, buckets: f64, side: f64) -> f32 {
        let edge = self.max - buckets / BUCKETS_PER_NAT * self.temperature;
        let slack = (edge.abs() + self.max.abs()) * 1e-6 + f64::from(f32::MIN_POSITIVE);
        (edge + side * slack) as f32
    }
}

impl Histogram {
    fn add(&mut self, exponent: f64) {
        let sums = &mut self.sums[bucket_of(exponent) as usize];
        sums[0] += exp64(exponent);
        sums[1] += exp64(exponent) * exponent;
    }
}

impl Nucleus<'_> {
    /// A token that is not far from the crossing bucket.
    fn see(&mut self, token: Ranked) {
        let bucket = bucket_of(self.scale.exponent(token.logit)) as usize;
        if bucket == self.bucket {
            self.tokens.push(token);
        } else if bucket < self.bucket
            && let Some(race) = &mut self.race
        {
            race.enter(token);
        }
    }

    #[inline(never)]
    fn see_lanes(&mut self, mut mask: u32, lanes: &[f32], first: usize) {
        while mask != 0 {
            let at = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            self.see(Ranked { token: (first + at) as u32, logit: f64::from(lanes[at]) });
        }
    }
}
