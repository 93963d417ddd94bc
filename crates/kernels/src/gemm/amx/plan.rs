//! Who computes what, and in which order, so that tiles come from near.
//!
//! One product of two tiles takes 16 cycles and needs one load of a tile, 1 KiB: 64 bytes a cycle for blocks of 2 × 2 tiles, as
//! much as the level-2 cache of Sapphire Rapids (2 MiB) gives at best. Half of it should come from the level-1 cache (48 KiB).
//! So the k of a strip of columns is cut into pieces: one piece of the right factor stays in level 1 while the same piece of all
//! strips of rows passes, and the sums wait in a buffer. The strips of rows of a task stay in level 2, if need be a chunk of k at a
//! time; the right factor, the larger side, comes from memory once for 256 rows, each piece fetched during the one before it. A
//! sum is the same chain wherever it is cut.
//!
//! These sizes were chosen by arithmetic and never measured.

use std::ops::Range;

use super::tile::Tile;

/// Steps of k in a piece: 24 KiB of either factor.
pub(super) const PIECE: usize = 12;
/// Strips of rows in a task.
const MOST_ROWS: usize = 8;
/// Strips of columns in a task.
const MOST_COLUMNS: usize = 8;
/// Of the left factor, in level 2.
const LEFT_BYTES: usize = 3 << 19;
/// Tasks for each thread, where there is work enough: the slowest thread then is late by a small part.
const TASKS_PER_THREAD: usize = 4;

/// How a product of some strips of rows and strips of columns is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    rows: usize,
    columns: usize,
    rows_per_task: usize,
    columns_per_task: usize,
}

impl Plan {
    pub(super) fn new(rows: usize, columns: usize, threads: usize) -> Self {
        let wanted = TASKS_PER_THREAD * threads.max(1);
        let row_tasks = rows.div_ceil(MOST_ROWS).max(1);
        let columns_per_task = (row_tasks * columns / wanted).clamp(1, MOST_COLUMNS);
        // Rows are divided further only where there are too few columns for all threads.
        let column_tasks = columns.div_ceil(columns_per_task).max(1);
        let row_tasks = row_tasks.max((threads / column_tasks).min(rows)).max(1);
        Self { rows, columns, rows_per_task: rows.div_ceil(row_tasks).max(1), columns_per_task }
    }

    pub(super) fn tasks(&self) -> usize {
        self.rows.div_ceil(self.rows_per_task) * self.column_tasks()
    }

    /// The strips of rows and of columns of a task. Tasks with the same rows are neighbours: the rows then stay in level 2.
    pub(super) fn task(&self, task: usize) -> [Range<usize>; 2] {
        let (row, column) = (task / self.column_tasks(), task % self.column_tasks());
        [part(row, self.rows_per_task, self.rows), part(column, self.columns_per_task, self.columns)]
    }

    fn column_tasks(&self) -> usize {
        self.columns.div_ceil(self.columns_per_task)
    }
}

/// The chunks of k whose left factor stays in level 2, for a task with so many strips of rows. At least one, if of no steps.
pub(super) fn chunks(steps: usize, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let bytes_per_step = 2 * size_of::<Tile>() * rows.max(1);
    split(0..steps, (LEFT_BYTES / bytes_per_step).max(PIECE))
}

/// The pieces of a chunk. A single strip of rows passes each part of the right factor once, so that nothing is gained by cutting.
pub(super) fn pieces(chunk: Range<usize>, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let most = if rows > 1 { PIECE } else { chunk.len() };
    split(chunk, most)
}

/// The fewest equal parts of at most `most`; one if the range is empty.
fn split(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = range.len().div_ceil(most.max(1)).max(1);
    let at = move |i: usize| range.start + range.len() * i / count;
    (0..count).map(move |i| at(i)..at(i + 1))
}

fn part(i: usize, size: usize, end: usize) -> Range<usize> {
    i * size..end.min((i + 1) * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_cover_every_block_once() {
        for (rows, columns) in [(0, 5), (5, 0), (1, 1), (1, 66), (8, 66), (9, 3), (100, 1), (3, 200)] {
            for threads in [1, 2, 7, 64] {
                let plan = Plan::new(rows, columns, threads);
                let mut seen = vec![0; rows * columns];
                for task in 0..plan.tasks() {
                    let [task_rows, task_columns] = plan.task(task);
                    assert!(
                        (1..=MOST_ROWS).contains(&task_rows.len()) && (1..=MOST_COLUMNS).contains(&task_columns.len())
                    );
                    for row in task_rows {
                        task_columns.clone().for_each(|column| seen[row * columns + column] += 1);
                    }
                }
                assert!(seen.iter().all(|times| *times == 1), "{rows} {columns} {threads}");
                assert!(
                    plan.tasks() >= threads.min(rows * columns) / 2,
                    "{plan:?} leaves most of {threads} threads idle"
                );
            }
        }
    }

    #[test]
    fn chunks_and_pieces_follow_one_another() {
        for (steps, rows) in [(0, 1), (1, 1), (88, 1), (88, 8), (400, 8), (1000, 3)] {
            let mut next = 0;
            for chunk in chunks(steps, rows) {
                assert!(chunk.len() * rows * 2048 <= LEFT_BYTES);
                for piece in pieces(chunk, rows) {
                    assert!(piece.start == next && (rows == 1 || piece.len() <= PIECE));
                    assert!(steps == 0 || !piece.is_empty());
                    next = piece.end;
                }
            }
            assert_eq!(next, steps);
        }
        assert_eq!(chunks(0, 4).flat_map(|chunk| pieces(chunk, 4)).count(), 1);
        assert!(chunks(88, 8).count() == 1 && chunks(400, 8).count() > 1);
    }
}
