//! What the classes weigh in each cell, and what the lists of classes do that edges bear.

use super::lists::of_lists;
use super::{Place, Row};
use crate::automaton::TokenAutomaton;

/// Probabilities below this one are taken for it, unless they are zero: what was drawn once stays possible, however sure the
/// model becomes of something else.
pub(super) const FLOOR: f64 = 1e-280;

/// The weights in all cells.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    cells: usize,
    classes: usize,
    lists: usize,
    /// `[L, C]`.
    of_classes: Vec<f64>,
    /// Sums over lists, `[L, U]`.
    of_lists: Vec<f64>,
    /// Sums over all classes, `[L]`.
    of_all: Vec<f64>,
}

impl Weights {
    pub(super) fn new(automaton: &TokenAutomaton, place: Place, rows: &[Row<'_>]) -> Self {
        let (classes, flow) = (automaton.classes(), automaton.flow());
        let mut of_classes = Vec::with_capacity(rows.len() * classes);
        let mut of_all = Vec::with_capacity(rows.len());
        for (cell, row) in rows.iter().enumerate() {
            let start = of_classes.len();
            match row {
                Row::Free(logs) => {
                    assert_eq!(logs.len(), classes, "chain: a row must hold a number for each class");
                    let weight = |log: &f64| if *log > f64::NEG_INFINITY { libm::exp(*log).max(FLOOR) } else { 0.0 };
                    of_classes.extend(logs.iter().map(weight));
                }
                Row::Held(held) => {
                    of_classes.resize(start + classes, 0.0);
                    // A class that there is not is none that a text holds.
                    if let Some(weight) = of_classes[start..].get_mut(*held as usize) {
                        *weight = 1.0;
                    }
                }
            }
            let weights = &mut of_classes[start..];
            if !place.may_end(cell) {
                weights[automaton.end_class() as usize] = 0.0;
            }
            of_all.push(weights.iter().sum());
        }
        let of_lists = of_lists(flow, classes, &of_classes, 0.0, |a, b| a + b);
        Self { cells: rows.len(), classes, lists: flow.lists(), of_classes, of_lists, of_all }
    }

    /// L.
    pub(super) fn cells(&self) -> usize {
        self.cells
    }

    /// The weight of each class in a cell.
    pub(super) fn classes(&self, cell: usize) -> &[f64] {
        &self.of_classes[cell * self.classes..(cell + 1) * self.classes]
    }

    /// The weight of each list in a cell.
    pub(super) fn lists(&self, cell: usize) -> &[f64] {
        &self.of_lists[cell * self.lists..(cell + 1) * self.lists]
    }

    /// The weight of all classes in a cell.
    pub(super) fn all(&self, cell: usize) -> f64 {
        self.of_all[cell]
    }
}
