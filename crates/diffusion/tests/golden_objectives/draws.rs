//! The reference's uniforms, and what each of the repositories does with them.

use std::collections::BTreeMap;

use lldm_diffusion::Token;
use serde_json::Value;

use crate::file::Golden;

/// The draws of one case, in their order.
pub(crate) struct Draws<'a> {
    golden: &'a Golden,
    order: Vec<&'a str>,
    next: usize,
    taken: BTreeMap<&'a str, usize>,
}

impl<'a> Draws<'a> {
    pub(crate) fn new(golden: &'a Golden, case: &'a Value) -> Self {
        let order = case["order_of_draws"].as_array().expect("an order of draws");
        let order = order.iter().map(|kind| kind.as_str().expect("a kind of draw")).collect();
        Self { golden, order, next: 0, taken: BTreeMap::new() }
    }

    /// The next draw: for each sequence its numbers, row-major.
    pub(crate) fn next(&mut self) -> Vec<&'a [f64]> {
        let kind = self.order[self.next];
        let taken = self.taken.entry(kind).or_insert(0);
        let draws = self.golden.input(&format!("draws.{kind}"));
        let rows = (0..draws.shape[1]).map(|row| draws.at(&[*taken, row])).collect();
        self.next += 1;
        *taken += 1;
        rows
    }

    /// The next draw as token ids.
    pub(crate) fn next_tokens(&mut self) -> Vec<Vec<Token>> {
        self.next().into_iter().map(|row| row.iter().map(|id| *id as Token).collect()).collect()
    }

    /// Whether all draws of the case are taken.
    pub(crate) fn finished(&self) -> bool {
        self.next == self.order.len()
    }
}

/// argmax p / (1e-10 - ln(u + 1e-10)): all but GIDD.
pub(crate) fn by_race(probabilities: &[f64], uniforms: &[f64]) -> Token {
    let key = |at: usize| probabilities[at] / (1e-10 - (uniforms[at] + 1e-10).ln());
    (0..probabilities.len()).reduce(|best, at| if key(at) > key(best) { at } else { best }).expect("a token") as Token
}

/// The first token whose cumulative probability lies above u, the last in any case: GIDD.
pub(crate) fn by_inverse(probabilities: &[f64], uniform: f64) -> Token {
    let mut sum = 0.0;
    let above = probabilities.iter().position(|p| {
        sum += p;
        sum > uniform
    });
    above.unwrap_or(probabilities.len() - 1) as Token
}
