//! Who computes which part of the result.

use std::ops::Range;

use rayon::prelude::*;

/// Rows per tile.
pub(super) const TILE: usize = 12;

/// Runs `f(tiles, panels)` over blocks that cover all tiles of rows and panels of columns, in parallel. The columns of a block
/// fill about half of a level-2 cache, and a tile of rows meets them all before the next one comes: rows then come from further
/// away once for many columns. Blocks of the same columns follow one another, so that the weights come from memory once.
pub(super) fn for_each_block(
    tiles: usize,
    panels: usize,
    [bytes_per_tile, bytes_per_panel]: [usize; 2],
    f: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    // Several blocks a thread, so that none waits long for the last.
    let most = panels.div_ceil(rayon::current_num_threads() * BLOCKS_PER_THREAD).max(1);
    let panel_step = (BLOCK_BYTES / bytes_per_panel.max(1)).clamp(1, most);
    let tile_step = (ROW_BYTES / bytes_per_tile.max(1)).max(MIN_TILES);
    let rows = tiles.div_ceil(tile_step);
    let blocks = rows * panels.div_ceil(panel_step);
    let run = |block: usize| {
        let (tile, panel) = (block % rows * tile_step, block / rows * panel_step);
        f(tile..tiles.min(tile + tile_step), panel..panels.min(panel + panel_step));
    };
    if blocks <= 1 {
        (0..blocks).for_each(run);
    } else {
        (0..blocks).into_par_iter().for_each(run);
    }
}

const BLOCK_BYTES: usize = 1 << 19;
const ROW_BYTES: usize = 1 << 20;
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
        assert_eq!(out.len(), rows * columns, "gemm: out has {} values, not [{rows}, {columns}]", out.len());
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
