//! Rows of a table looked up by index, and the reverse: gradients added back into the rows they came from.
//!
//! The sums run in the order of the indices, whatever the threads: each task owns a range of the table's rows.
//! Shapes: table `[V, D]`, indices `[N]` below V, rows `[N, D]`.

use rayon::prelude::*;

use crate::simd::{LANES, Simd, dispatch};

/// `out[i] = table[indices[i]]`.
pub fn gather_rows(table: &[f32], width: usize, indices: &[u32], out: &mut [f32]) {
    check(table.len(), width, indices, out.len());
    out.par_chunks_mut(ROWS * width).zip(indices.par_chunks(ROWS)).for_each(|(out, indices)| {
        for (out, index) in out.chunks_exact_mut(width).zip(indices) {
            out.copy_from_slice(&table[*index as usize * width..][..width]);
        }
    });
}

/// `out[i] += table[indices[i]]`.
pub fn gather_add_rows(table: &[f32], width: usize, indices: &[u32], out: &mut [f32]) {
    check(table.len(), width, indices, out.len());
    out.par_chunks_mut(ROWS * width).zip(indices.par_chunks(ROWS)).for_each(|(out, indices)| {
        for (out, index) in out.chunks_exact_mut(width).zip(indices) {
            add_row(&table[*index as usize * width..][..width], out);
        }
    });
}

/// `table[indices[i]] += rows[i]`, in the order of i.
pub fn scatter_add_rows(rows: &[f32], width: usize, indices: &[u32], table: &mut [f32]) {
    check(table.len(), width, indices, rows.len());
    if indices.is_empty() {
        return;
    }
    // Which rows go to each range of the table, in order.
    let per_task = (table.len() / width).div_ceil(TASKS);
    let mut places = vec![Vec::new(); TASKS];
    for (at, index) in indices.iter().enumerate() {
        places[*index as usize / per_task].push(at);
    }
    table.par_chunks_mut(per_task * width).zip(&places).enumerate().for_each(|(task, (table, places))| {
        for at in places {
            let index = indices[*at] as usize - task * per_task;
            add_row(&rows[at * width..][..width], &mut table[index * width..][..width]);
        }
    });
}

/// Rows per parallel task of a lookup.
const ROWS: usize = 64;
/// Ranges of the table.
const TASKS: usize = 32;

fn check(table: usize, width: usize, indices: &[u32], rows: usize) {
    assert!(width > 0 && table.is_multiple_of(width), "table: {table} values are not rows of width {width}");
    assert_eq!(rows, indices.len() * width, "table: the rows are not [{}, {width}]", indices.len());
    let count = table / width;
    assert!(indices.iter().all(|index| (*index as usize) < count), "table: an index is beyond its {count} rows");
}

fn add_row(from: &[f32], to: &mut [f32]) {
    dispatch!(add_body(from: &[f32], to: &mut [f32]))
}

#[inline(always)]
fn add_body<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    for (from, to) in from.chunks(LANES).zip(to.chunks_mut(LANES)) {
        s.store_partial(s.add(s.load_partial(to, 0.0), s.load_partial(from, 0.0)), to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{noise, on_threads};
    use crate::simd::at_each_level;

    #[test]
    fn rows_are_found_and_go_back_in_order() {
        for (vocabulary, width, count) in [(1, 1, 3), (7, 5, 0), (50, 17, 300), (4096, 33, 200)] {
            let (table, rows) = (noise(1, vocabulary * width).f32, noise(2, count * width).f32);
            let indices: Vec<u32> = (0..count as u32).map(|i| i * i * 31 % vocabulary as u32).collect();
            let run = || {
                let (mut out, mut sum) = (vec![0.0; rows.len()], rows.clone());
                gather_rows(&table, width, &indices, &mut out);
                gather_add_rows(&table, width, &indices, &mut sum);
                let mut back = table.clone();
                scatter_add_rows(&rows, width, &indices, &mut back);
                (out, sum, back)
            };
            let (out, sum, back) = at_each_level(run);
            assert!(on_threads(3, run) == (out.clone(), sum.clone(), back.clone()));
            let mut expected = table.clone();
            for (i, index) in indices.iter().enumerate() {
                for j in 0..width {
                    let (row, entry) = (i * width + j, *index as usize * width + j);
                    assert_eq!(out[row], table[entry]);
                    assert_eq!(sum[row], rows[row] + table[entry]);
                    expected[entry] += rows[row];
                }
            }
            assert!(back == expected);
        }
    }
}
