//! The most probable text: maxima in place of sums, in logarithms, which no text is too improbable for (Viterbi 1967).

use super::lists::of_lists;
use super::messages::Canvas;
use super::weights::FLOOR;
use super::{Path, Place, Row};

/// ln of the weight of each list in each cell: that of its best class, `[L, U]`.
struct Best {
    lists: usize,
    of_lists: Vec<f64>,
    classes: usize,
    of_classes: Vec<f64>,
}

impl Best {
    fn new(canvas: &Canvas<'_>, place: Place, rows: &[Row<'_>]) -> Self {
        let (classes, flow) = (canvas.automaton.classes(), canvas.automaton.flow());
        let mut best = Self { lists: flow.lists(), of_lists: Vec::new(), classes, of_classes: Vec::new() };
        let floor = libm::log(FLOOR);
        for (cell, row) in rows.iter().enumerate() {
            let start = best.of_classes.len();
            match row {
                Row::Free(logs) => {
                    let at_least = |log: &f64| if *log > f64::NEG_INFINITY { log.max(floor) } else { *log };
                    best.of_classes.extend(logs.iter().map(at_least));
                }
                Row::Held(held) => {
                    best.of_classes.resize(start + classes, f64::NEG_INFINITY);
                    if let Some(log) = best.of_classes[start..].get_mut(*held as usize) {
                        *log = 0.0;
                    }
                }
            }
            let logs = &mut best.of_classes[start..];
            if !place.may_end(cell) {
                logs[canvas.automaton.end_class() as usize] = f64::NEG_INFINITY;
            }
        }
        best.of_lists = of_lists(flow, classes, &best.of_classes, f64::NEG_INFINITY, larger);
        best
    }

    fn lists(&self, cell: usize) -> &[f64] {
        &self.of_lists[cell * self.lists..(cell + 1) * self.lists]
    }
}

/// The most probable text of a canvas and ln of its weight, where `rows` hold ln of the probability of the best token of each class.
pub(super) fn most_probable(canvas: &Canvas<'_>, place: Place, rows: &[Row<'_>]) -> (Path, f64) {
    let best = Best::new(canvas, place, rows);
    let (cells, flow) = (rows.len(), canvas.automaton.flow());
    let width = canvas.automaton.states() + 1;
    // ln of the best way on from each state; that of an ended text is 0. [L + 1, S + 1]
    let mut values = vec![f64::NEG_INFINITY; (cells + 1) * width];
    for cell in 0..=cells {
        values[(cell + 1) * width - 1] = 0.0;
    }
    for state in (0..width - 1).filter(|state| canvas.last[*state]) {
        values[cells * width + state] = 0.0;
    }
    for cell in (0..cells).rev() {
        let (low, next) = values.split_at_mut((cell + 1) * width);
        let (column, next) = (&mut low[cell * width..], &next[..width]);
        let lists = best.lists(cell);
        for state in canvas.reach.states(cell) {
            let ways = flow.of(*state).iter().map(|edge| lists[edge.list as usize] + next[edge.to as usize]);
            column[*state as usize] = ways.fold(f64::NEG_INFINITY, larger);
        }
    }
    let mut path = Path { classes: Vec::new(), states: vec![place.state] };
    let mut state = place.state;
    for cell in 0..cells {
        let (value, next) = (values[cell * width + state as usize], &values[(cell + 1) * width..]);
        let lists = best.lists(cell);
        let leads = |edge: &&crate::automaton::Edge| lists[edge.list as usize] + next[edge.to as usize] == value;
        // The same sums again, so one of them is the largest.
        let Some(edge) = flow.of(state).iter().find(leads).filter(|_| value > f64::NEG_INFINITY) else { break };
        let logs = &best.of_classes[cell * best.classes..(cell + 1) * best.classes];
        let class = flow.list(edge.list).iter().find(|class| logs[**class as usize] == lists[edge.list as usize]);
        path.classes.extend(class);
        if edge.to as usize + 1 == width {
            path.states.push(state);
            break;
        }
        path.states.push(edge.to);
        state = edge.to;
    }
    (path, values[place.state as usize])
}

/// The larger of two numbers, without regard to what is no number, as none is.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}
