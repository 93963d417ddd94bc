//! Messages along the canvas: sums over all ways on from each state, and over all ways to it with what they give to each list.
//!
//! Of numbers that were raised to the bottom of their column an account is kept. A raised number is an upper bound, and what it
//! can add to the whole is at most its product with the number of the other direction; only where all that together cannot be seen in
//! an f64 do plain numbers stand.

use super::number::{Number, Wide};
use super::reach::Reach;
use super::weights::Weights;
use crate::automaton::TokenAutomaton;

/// The share of the whole that may be due to raised numbers: far below the precision of an f64.
const MOST_RAISED: f64 = 1e-19;

/// What the messages are about.
#[derive(Clone, Debug)]
pub(super) struct Canvas<'a> {
    pub(super) automaton: &'a TokenAutomaton,
    pub(super) weights: Weights,
    pub(super) reach: Reach,
    /// The state in front of it.
    pub(super) state: u32,
    /// Whether a text in each state behind it can be completed, `[S]`.
    pub(super) last: Vec<bool>,
}

/// Sums over all ways on.
#[derive(Clone, Debug)]
pub(super) struct Behind<N> {
    /// For each state in front of each cell and behind the last one; one more for a text that has ended. `[L + 1, S + 1]`.
    numbers: Vec<N>,
    width: usize,
    /// The power of two that each column is to be multiplied by.
    exponents: Vec<i64>,
    /// Whether each column holds raised numbers.
    raised: Vec<bool>,
}

/// What the ways through the canvas give to each list of classes in each cell.
pub(super) struct Shares {
    /// Probabilities that a way uses an edge of a list, divided by the weight of the list, `[L, U]`.
    pub(super) lists: Vec<f64>,
    /// The probability that the canvas holds no end token.
    pub(super) open: f64,
}

impl<N: Number> Behind<N> {
    pub(super) fn new(canvas: &Canvas<'_>) -> Self {
        let Canvas { automaton, weights, reach, last, .. } = canvas;
        let (cells, width) = (weights.cells(), automaton.states() + 1);
        let mut behind = Self {
            numbers: vec![N::default(); (cells + 1) * width],
            width,
            exponents: vec![0; cells + 1],
            raised: vec![false; cells + 1],
        };
        for state in reach.states(cells).iter().filter(|state| last[**state as usize]) {
            behind.numbers[cells * width + *state as usize] = N::power(0);
        }
        behind.settle(reach, cells, 0);
        for cell in (0..cells).rev() {
            let (low, next) = behind.numbers.split_at_mut((cell + 1) * width);
            let (column, next) = (&mut low[cell * width..], &next[..width]);
            let lists = weights.lists(cell);
            for state in reach.states(cell) {
                column[*state as usize] = automaton
                    .flow()
                    .of(*state)
                    .iter()
                    .map(|edge| next[edge.to as usize].times(lists[edge.list as usize]))
                    .fold(N::default(), N::plus);
            }
            behind.settle(reach, cell, behind.exponents[cell + 1]);
        }
        behind
    }

    /// Brings a column that is to be multiplied by a power of two into range. The number of an ended text is 1.
    fn settle(&mut self, reach: &Reach, cell: usize, exponent: i64) {
        let column = &mut self.numbers[cell * self.width..(cell + 1) * self.width];
        let one = reach.ended(cell).then_some(-exponent);
        self.exponents[cell] = exponent + N::settle(column, reach.states(cell), one);
        if one.is_some() {
            column[self.width - 1] = N::power(-self.exponents[cell]);
        }
        self.raised[cell] = reach.states(cell).iter().any(|state| column[*state as usize].is_floor());
    }

    /// The numbers in front of a cell, and the power of two that they are to be multiplied by.
    pub(super) fn column(&self, cell: usize) -> (&[N], i64) {
        (&self.numbers[cell * self.width..(cell + 1) * self.width], self.exponents[cell])
    }

    /// The sum over all ways through the canvas.
    pub(super) fn total(&self, canvas: &Canvas<'_>) -> Wide {
        let number = self.numbers[canvas.state as usize];
        if number.is_zero() {
            return Wide::default();
        }
        let (factor, exponent) = number.split();
        Wide::power(exponent + self.exponents[0]).times(factor)
    }

    /// Whether raised numbers cannot be seen in the whole, by what weighs at most all that stands before them.
    pub(super) fn is_safe(&self, canvas: &Canvas<'_>) -> bool {
        let (total, own) = self.total(canvas).split();
        let mut before = 1.0;
        let mut raised = 0.0;
        for cell in 0..self.raised.len() {
            if self.raised[cell] {
                raised += N::bottom().raised(self.exponents[cell] - own).product(N::power(0)) / total * before;
            }
            if cell < canvas.weights.cells() {
                before *= canvas.weights.all(cell).max(1.0);
            }
        }
        raised <= MOST_RAISED
    }

    /// The sums over all ways to each state, joined with those on from it; `None` where raised numbers could be seen in them.
    pub(super) fn shares(&self, canvas: &Canvas<'_>) -> Option<Shares> {
        let Canvas { automaton, weights, reach, .. } = canvas;
        let (cells, flow) = (weights.cells(), automaton.flow());
        let (total, own) = self.total(canvas).split();
        let inverse = 1.0 / total;
        let mut out = Shares { lists: vec![0.0; cells * flow.lists()], open: 0.0 };
        let mut front = vec![N::default(); self.width];
        let mut next = front.clone();
        // The numbers in front, divided by the total.
        let mut joined = front.clone();
        front[canvas.state as usize] = N::power(0);
        let mut exponent = 0;
        let mut raised = 0.0;
        for cell in 0..=cells {
            let states = reach.states(cell);
            let (behind, power) = self.column(cell);
            for state in states {
                // No way to where none goes on.
                if behind[*state as usize].is_zero() {
                    front[*state as usize] = N::default();
                }
            }
            exponent += N::settle(&mut front, states, None);
            let share = |state: u32, power: i64| front[state as usize].raised(exponent + power - own).times(inverse);
            for state in states.iter().map(|state| *state as usize) {
                if front[state].is_floor() || behind[state].is_floor() {
                    raised += share(state as u32, power).product(behind[state]);
                }
            }
            if cell == cells {
                out.open = states.iter().map(|state| share(*state, power).product(behind[*state as usize])).sum();
                break;
            }
            let (behind, power) = self.column(cell + 1);
            states.iter().for_each(|state| joined[*state as usize] = share(*state, power));
            let lists = weights.lists(cell);
            let given = &mut out.lists[cell * lists.len()..(cell + 1) * lists.len()];
            for state in states {
                let (before, share) = (front[*state as usize], joined[*state as usize]);
                if before.is_zero() {
                    continue;
                }
                for edge in flow.of(*state) {
                    let (to, list) = (edge.to as usize, edge.list as usize);
                    next[to] = next[to].plus(before.times(lists[list]));
                    given[list] += share.product(behind[to]);
                }
            }
            for (given, weight) in given.iter_mut().zip(lists).filter(|(_, weight)| **weight == 0.0) {
                *given = *weight;
            }
            states.iter().for_each(|state| front[*state as usize] = N::default());
            std::mem::swap(&mut front, &mut next);
            front[self.width - 1] = N::default();
        }
        // Not less, so that what is no number counts as seen.
        (raised <= MOST_RAISED).then_some(out)
    }
}
