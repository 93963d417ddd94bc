//! Who computes which part of the result.

use std::ops::Range;

use rayon::prelude::*;

use crate::tile_product::PANEL;

/// Rows per tile.
pub(super) const TILE: usize = 12;

/// Runs `f(tiles, panels)` over blocks that cover all tiles of rows and panels of columns, in parallel. The rows and the columns
/// of a block fill about a quarter of a level-2 cache each. The blocks of the same columns follow one another, so that the
/// weights, the larger side, come from memory once.
pub(super) fn for_each_block(
    tiles: usize,
    panels: usize,
    bytes_per_tile: usize,
    bytes_per_panel: usize,
    f: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let tile_step = (BLOCK_BYTES / bytes_per_tile.max(1)).clamp(MIN_TILES, MAX_TILES);
    let panel_step = (BLOCK_BYTES / bytes_per_panel.max(1)).clamp(1, MAX_PANELS);
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

const BLOCK_BYTES: usize = 1 << 18;
const MIN_TILES: usize = 4;
const MAX_TILES: usize = 20;
const MAX_PANELS: usize = 8;

/// The result `[M, N]`, of which each task writes its own block.
#[derive(Clone, Copy)]
pub(super) struct Output {
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
    pub(super) fn new(out: &mut [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(out.len(), rows * columns, "gemm: out has {} values, not [{rows}, {columns}]", out.len());
        Self { start: out.as_mut_ptr(), rows, columns }
    }

    /// The first value of a tile in a panel, and how many rows and columns of the two exist (at least one each).
    pub(super) fn at(&self, tile: usize, panel: usize) -> (*mut f32, usize, usize) {
        let (row, column) = (tile * TILE, panel * PANEL);
        assert!(row < self.rows && column < self.columns);
        let start = self.start.wrapping_add(row * self.columns + column);
        (start, (self.rows - row).min(TILE), (self.columns - column).min(PANEL))
    }

    /// Distance between rows.
    pub(super) fn stride(&self) -> usize {
        self.columns
    }
}
