//! The first walk over a row: its two largest logits, the sums of its softmax and entropy, and the race.
//!
//! A chunk stays in the first cache while its maximum is found and then its sums. Within a chunk weights are f32 and each
//! of 64 lane sums adds 32 of them; lanes and chunks are joined in float64. The relative error of a row's sum stays below
//! 3e-7 (measured: 1.5e-7 where all weights are equal, which adds every rounding up).

use super::lanes::VocabSimd;
use super::race::Race;
use super::stream::STEP;
use super::sums::Sums;
use super::transform::{BLOCK, Buffer, CHUNK, Ranked, Row};
use crate::exp::{LOWEST, exp_clamped};
use crate::simd::{LANES, dispatch};

/// What the walk shall find.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The temperature of the sums, if they are wanted.
    pub(super) heat: Option<f64>,
    /// The key and the temperature of a race of all tokens. A race needs the sums.
    pub(super) race: Option<(u64, f64)>,
    /// Whether the maxima of all lanes are kept.
    pub(super) maxima: bool,
}

/// What it found.
pub(super) struct Found {
    pub(super) best: Ranked,
    pub(super) second: Ranked,
    /// The largest logit of a token that is not changed.
    pub(super) unchanged: f32,
    pub(super) sums: Sums,
    pub(super) race: Option<Race>,
    /// The largest value of each of [`LANES`] lanes of each group of [`GROUP`] values. Every value counts in one of them;
    /// changed tokens do not.
    pub(super) maxima: Vec<f32>,
}

/// The values of a group.
pub(super) const GROUP: usize = 512;
/// The maxima of a chunk.
pub(super) const MAXIMA: usize = CHUNK / GROUP * LANES;

/// The lanes' registers of a block.
const VECTORS: usize = BLOCK / LANES;

/// How the race's weights come from the sums'.
const NO_RACE: u8 = 0;
/// They are the same.
const SAME: u8 = 1;
/// They are at most as large: the sums' reject first, and the race's own where those do not.
const COLDER: u8 = 2;
/// They are larger.
const HOTTER: u8 = 3;

/// A chunk on its way through the sums.
struct Chunk<'a> {
    values: &'a [f32],
    /// Its first token.
    start: usize,
    max: f32,
    inverse_heat: f32,
    inverse_temperature: f32,
    /// What is read next.
    next: *const f32,
}

/// Walks over a row.
pub(super) fn walk(row: &Row<'_>, plan: &Plan) -> Found {
    let mut found = Found {
        best: Ranked::NOTHING,
        second: Ranked::NOTHING,
        unchanged: f32::NEG_INFINITY,
        sums: Sums::new(plan.heat.unwrap_or(1.0)),
        race: None,
        maxima: Vec::new(),
    };
    if plan.maxima {
        found.maxima.reserve_exact(row.chunks() * MAXIMA);
    }
    walk_lanes(row, plan, &mut found);
    for token in &row.changed {
        found.offer(*token);
        if plan.heat.is_some() {
            found.sums.add_logit(token.logit);
        }
        if let Some((key, temperature)) = plan.race {
            found.race.get_or_insert(Race::new(key, temperature, token.logit)).enter(*token);
        }
    }
    found
}

fn walk_lanes(row: &Row<'_>, plan: &Plan, found: &mut Found) {
    dispatch!(walk_body(row: &Row<'_>, plan: &Plan, found: &mut Found))
}

#[inline(always)]
fn walk_body<S: VocabSimd>(s: S, row: &Row<'_>, plan: &Plan, found: &mut Found) {
    let mut buffer = Buffer::new();
    let heat = plan.heat.unwrap_or(1.0);
    for index in 0..row.chunks() {
        let values = row.chunk(s, index, &mut buffer);
        let maxima = chunk_maxima(s, values);
        if plan.maxima {
            found.maxima.extend_from_slice(&maxima);
        }
        let max = largest(s, &maxima);
        if max == f32::NEG_INFINITY {
            continue;
        }
        found.unchanged = found.unchanged.max(max);
        let start = index * CHUNK;
        if f64::from(max) > found.second.logit {
            offer_chunk(s, values, start, max, found);
        }
        if plan.heat.is_none() {
            continue;
        }
        let temperature = plan.race.map_or(1.0, |race| race.1);
        let chunk = Chunk {
            values,
            start,
            max,
            inverse_heat: heat.recip() as f32,
            inverse_temperature: temperature.recip() as f32,
            next: row.place(index + 1),
        };
        let (sum, weighted) = match plan.race {
            None => chunk_sums::<S, NO_RACE>(s, &chunk, &mut Race::new(0, 1.0, 0.0)),
            Some((key, temperature)) => {
                let best = found.best;
                let race = found.race.get_or_insert_with(|| {
                    let mut race = Race::new(key, temperature, best.logit);
                    race.enter(best);
                    race
                });
                if temperature == heat {
                    chunk_sums::<S, SAME>(s, &chunk, race)
                } else if temperature < heat {
                    chunk_sums::<S, COLDER>(s, &chunk, race)
                } else {
                    chunk_sums::<S, HOTTER>(s, &chunk, race)
                }
            }
        };
        found.sums.add(f64::from(max), sum, weighted);
    }
}

/// The maxima of the lanes of each group.
#[inline(always)]
pub(super) fn chunk_maxima<S: VocabSimd>(s: S, values: &[f32]) -> [f32; MAXIMA] {
    let mut maxima = [f32::NEG_INFINITY; MAXIMA];
    for (group, maxima) in values.chunks(GROUP).zip(maxima.chunks_exact_mut(LANES)) {
        let mut max = [s.splat(f32::NEG_INFINITY); 4];
        for block in group.chunks_exact(BLOCK) {
            for (max, lanes) in max.iter_mut().zip(block.chunks_exact(LANES)) {
                *max = s.max(s.load(lanes), *max);
            }
        }
        s.store(s.max(s.max(max[0], max[1]), s.max(max[2], max[3])), maxima);
    }
    maxima
}

/// The largest of a chunk's maxima.
#[inline(always)]
pub(super) fn largest<S: VocabSimd>(s: S, maxima: &[f32; MAXIMA]) -> f32 {
    let mut max = s.load(maxima);
    for lanes in maxima.chunks_exact(LANES) {
        max = s.max(s.load(lanes), max);
    }
    s.max_lane(max)
}

/// The chunk's two largest values compete with those found.
#[inline(always)]
fn offer_chunk<S: VocabSimd>(s: S, values: &[f32], start: usize, max: f32, found: &mut Found) {
    let none = s.splat(f32::NEG_INFINITY);
    let (mut first, mut second) = (none, none);
    for lanes in values.chunks_exact(LANES) {
        let x = s.load(lanes);
        // A NaN leaves both as they are.
        second = s.max(s.min(first, x), second);
        first = s.max(x, first);
    }
    let (first, second) = (s.to_array(first), s.to_array(second));
    // The largest value but one, which is `max` itself where that comes twice.
    let mut runner_up = f32::NEG_INFINITY;
    let mut passed = false;
    for x in first.into_iter().chain(second) {
        if x == max && !passed {
            passed = true;
        } else if x > runner_up {
            runner_up = x;
        }
    }
    // They are the first ones that are no less, with the largest among them: of equals the lower ids win.
    let limit = s.splat(runner_up.next_down());
    let (mut seen, mut seen_max) = (0, false);
    for (at, lanes) in values.chunks_exact(LANES).enumerate() {
        let mut mask = s.less_mask(limit, s.load(lanes));
        while mask != 0 {
            let at = at * LANES + mask.trailing_zeros() as usize;
            mask &= mask - 1;
            found.offer(Ranked { token: (start + at) as u32, logit: f64::from(values[at]) });
            seen += 1;
            seen_max |= values[at] == max;
            if seen_max && seen >= 2 {
                return;
            }
        }
    }
}

/// The sums of exp(s) and of exp(s) · s with s = (x - max) / heat; the tokens that the lanes do not reject enter the race.
#[inline(always)]
fn chunk_sums<S: VocabSimd, const RACE: u8>(s: S, chunk: &Chunk<'_>, race: &mut Race) -> (f64, f64) {
    let max = s.splat(chunk.max);
    let inverse_heat = s.splat(chunk.inverse_heat);
    let inverse_temperature = s.splat(chunk.inverse_temperature);
    let mut sum = [s.splat(0.0); VECTORS];
    let mut weighted = [s.splat(0.0); VECTORS];
    let mut limit = if RACE == NO_RACE { max } else { s.splat(race.lane_limit(chunk.max)) };
    let counter = race.counter(chunk.start);
    for (block, values) in chunk.values.chunks_exact(BLOCK).enumerate() {
        let mut mask = 0u64;
        let mut uniforms = [max; VECTORS];
        for (vector, lanes) in values.chunks_exact(LANES).enumerate() {
            s.fetch(chunk.next.wrapping_add(block * BLOCK + vector * LANES));
            let x = exponents(s, lanes, max, inverse_heat);
            let weight = exp_clamped(s, x);
            sum[vector] = s.add(sum[vector], weight);
            weighted[vector] = s.fma(weight, x, weighted[vector]);
            if RACE != NO_RACE {
                let weight =
                    if RACE == HOTTER { exp_clamped(s, exponents(s, lanes, max, inverse_temperature)) } else { weight };
                let first = (block * BLOCK + vector * LANES) as u64;
                uniforms[vector] = s.top_bits(counter.wrapping_add(STEP.wrapping_mul(first)));
                mask |= u64::from(s.less_mask(uniforms[vector], s.mul(limit, weight))) << (vector * LANES);
            }
        }
        if RACE == COLDER && mask != 0 {
            mask = 0;
            for (vector, lanes) in values.chunks_exact(LANES).enumerate() {
                let weight = exp_clamped(s, exponents(s, lanes, max, inverse_temperature));
                mask |= u64::from(s.less_mask(uniforms[vector], s.mul(limit, weight))) << (vector * LANES);
            }
        }
        if RACE != NO_RACE && mask != 0 {
            race.enter_block(mask, values, chunk.start + block * BLOCK);
            limit = s.splat(race.lane_limit(chunk.max));
        }
    }
    (total(s, sum), total(s, weighted))
}

/// The exponents of the lanes' weights. What is impossible, and what is no number, weighs exp(-87): nothing beside the 1 of
/// the maximum.
#[inline(always)]
pub(super) fn exponents<S: VocabSimd>(s: S, lanes: &[f32], max: S::V, inverse: S::V) -> S::V {
    s.max(s.mul(s.sub(s.load(lanes), max), inverse), s.splat(LOWEST))
}

#[inline(always)]
fn total<S: VocabSimd>(s: S, lanes: [S::V; VECTORS]) -> f64 {
    let joined = s.add(s.add(lanes[0], lanes[1]), s.add(lanes[2], lanes[3]));
    s.to_array(joined).into_iter().map(f64::from).sum()
}

impl Found {
    fn offer(&mut self, token: Ranked) {
        if token.before(&self.best) {
            self.second = self.best;
            self.best = token;
        } else if token.before(&self.second) {
            self.second = token;
        }
    }
}
