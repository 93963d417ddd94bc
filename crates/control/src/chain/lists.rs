//! From classes to the lists of them that edges bear, and back, eight cells at a time: the cells lie side by side in a register, and
//! what is read of a class serves all of them.

use crate::automaton::Flow;

/// Cells that are worked on together.
const TOGETHER: usize = 8;

/// What each list comes to in each cell, `[L, U]`, where `of_classes` holds the numbers of the classes, `[L, C]`.
pub(super) fn of_lists(
    flow: &Flow,
    classes: usize,
    of_classes: &[f64],
    none: f64,
    join: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let lists = flow.lists();
    let mut out = vec![none; of_classes.len() / classes * lists];
    let mut tile = vec![[none; TOGETHER]; classes];
    for (rows, out) in of_classes.chunks(TOGETHER * classes).zip(out.chunks_mut(TOGETHER * lists)) {
        turn(rows, classes, &mut tile);
        for list in 0..lists {
            let mut joined = [none; TOGETHER];
            for class in flow.list(list as u32) {
                let numbers = &tile[*class as usize];
                joined = std::array::from_fn(|lane| join(joined[lane], numbers[lane]));
            }
            for (out, joined) in out.chunks_mut(lists).zip(joined) {
                out[list] = joined;
            }
        }
    }
    out
}

/// The sum over the lists that hold it, of each class in each cell, `[L, C]`, where `of_lists` holds the numbers of the lists, `[L, U]`.
pub(super) fn of_classes(flow: &Flow, classes: usize, of_lists: &[f64]) -> Vec<f64> {
    let lists = flow.lists();
    let (starts, holding) = holding(flow, classes);
    let mut out = vec![0.0; of_lists.len() / lists * classes];
    let mut tile = vec![[0.0; TOGETHER]; lists];
    for (rows, out) in of_lists.chunks(TOGETHER * lists).zip(out.chunks_mut(TOGETHER * classes)) {
        turn(rows, lists, &mut tile);
        for class in 0..classes {
            let mut sum = [0.0; TOGETHER];
            for list in &holding[starts[class]..starts[class + 1]] {
                let numbers = &tile[*list as usize];
                sum = std::array::from_fn(|lane| sum[lane] + numbers[lane]);
            }
            for (out, sum) in out.chunks_mut(classes).zip(sum) {
                out[class] = sum;
            }
        }
    }
    out
}

/// Up to eight rows as columns. What is left of the tile is not used.
fn turn(rows: &[f64], width: usize, tile: &mut [[f64; TOGETHER]]) {
    for (lane, row) in rows.chunks_exact(width).enumerate() {
        tile.iter_mut().zip(row).for_each(|(numbers, number)| numbers[lane] = *number);
    }
}

/// The lists that hold each class: where they begin, and all of them.
fn holding(flow: &Flow, classes: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0; classes + 1];
    flow.list_classes.iter().for_each(|class| starts[*class as usize + 1] += 1);
    (0..classes).for_each(|class| starts[class + 1] += starts[class]);
    let (mut place, mut holding) = (starts.clone(), vec![0; flow.list_classes.len()]);
    for list in 0..flow.lists() as u32 {
        for class in flow.list(list) {
            holding[place[*class as usize]] = list;
            place[*class as usize] += 1;
        }
    }
    (starts, holding)
}
