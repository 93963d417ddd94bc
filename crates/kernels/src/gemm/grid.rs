//! Who computes which part of the result.

use std::ops::Range;

use rayon::prelude::*;

/// Rows per tile.
pub(super) const TILE: usize = 12;

/// Runs `f(tiles, panels)` over blocks that cover all tiles of rows and panels of columns, in parallel. The columns of a block
/// fill about half of a level-2 cache, and all tiles of rows meet them, one after the other: the weights come from memory once.
/// Rows are split among blocks only where there are too few columns to give every thread work.
pub(super) fn for_each_block(
    tiles: usize,
    panels: usize,
    bytes_per_panel: usize,
    f: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let threads = rayon::current_num_threads();
    let [tile_step, panel_step] = steps(tiles, panels, BLOCK_BYTES / bytes_per_panel.max(1), threads);
    let rows = tiles.div_ceil(tile_step);
    let blocks = rows * panels.div_ceil(panel_step);
    let run = |block: usize| {
        let (tile, panel) = (block % rows * tile_step, block / rows * panel_step);
        f(tile..tiles.min(tile + tile_step), panel..panels.min(panel + panel_step));
    };
    if blocks <= 1 || threads == 1 {
        // Here and now: another thread would only have to wake up.
        (0..blocks).for_each(run);
    } else {
        (0..blocks).into_par_iter().for_each(run);
    }
}

/// Tiles and panels of a block, of which the cache holds `cached`.
fn steps(tiles: usize, panels: usize, cached: usize, threads: usize) -> [usize; 2] {
    // Several blocks a thread, so that none waits long for the last.
    let wanted = if threads > 1 { threads * BLOCKS_PER_THREAD } else { 1 };
    let panel_step = cached.clamp(1, panels.max(1));
    let most = (tiles / MIN_TILES).max(1);
    let rows = wanted.div_ceil(panels.div_ceil(panel_step).max(1)).min(most);
    let columns = wanted.div_ceil(rows);
    [tiles.div_ceil(rows).max(1), panel_step.min(panels.div_ceil(columns)).max(1)]
}

const BLOCK_BYTES: usize = 1 << 19;
const MIN_TILES: usize = 4;
const BLOCKS_PER_THREAD: usize = 4;

/// The result `[M, N]`, of which each task writes its own block.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    rows: usize,
    columns: usize,
}

// SAFETY: the memory is reached only through `at`, whose callers promise that no two threads use the same values.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// The slice `[rows, columns]` must outlive all uses of the pointers that `at` gives.
    pub(crate) fn new(out: &mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(
            Some(out.len()),
            rows.checked_mul(columns),
            "gemm: out has {} values, not [{rows}, {columns}]",
            out.len()
        );
        Self { start: out.as_mut_ptr(), rows, columns }
    }

    /// The first value of a block of `rows` rows, which must exist, and of how many of its `columns` columns exist.
    pub(crate) fn at(&self, [row, column]: [usize; 2], rows: usize, columns: usize) -> (*mut f32, usize) {
        assert!(row + rows <= self.rows && column < self.columns);
        (self.start.wrapping_add(row * self.columns + column), (self.columns - column).min(columns))
    }

    /// Distance between rows.
    pub(crate) fn stride(&self) -> usize {
        self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_work_and_columns_stay_in_the_cache() {
        for tiles in 0..60 {
            for panels in 0..60 {
                for (cached, threads) in [(0, 1), (3, 1), (100, 1), (3, 2), (100, 2), (7, 16)] {
                    let [tile_step, panel_step] = steps(tiles, panels, cached, threads);
                    assert!(tile_step > 0 && panel_step > 0 && panel_step <= cached.max(1));
                    let blocks = tiles.div_ceil(tile_step) * panels.div_ceil(panel_step);
                    // As many as wanted, less what rounding costs, unless tiles and panels are too few.
                    assert!(threads == 1 || 2 * blocks >= (4 * threads).min(tiles / 4 * panels).min(2 * panels));
                    if threads == 1 {
                        assert!(tile_step >= tiles);
                    }
                }
            }
        }
    }
}
