//! Factors in tile order: strips of 32 rows (of the left factor) or columns (of the right), `[strips][steps of k][2]` tiles.
//!
//! In a tile of the left factor a row is a row and a column a group of k; in one of the right factor a row is a group of k and a
//! column a column. Absent rows, columns and values of k are zeros, which add nothing to any sum.

use rayon::prelude::*;

use super::numbers::Numbers;
use super::tile::{SIDE, Tile};
use crate::gemm::layout::Layout;

/// Rows or columns of a strip.
pub(super) const STRIP: usize = 2 * SIDE;

/// Which factor of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A packed factor.
#[derive(Clone, Copy)]
pub(super) struct Strips<'a> {
    tiles: &'a [Tile],
    /// Rows of the left factor, columns of the right.
    indices: usize,
    steps: usize,
}

impl<'a> Strips<'a> {
    /// `tiles` as [`pack`] has left them, for a factor of `indices` × `k`.
    pub(super) fn new<N: Numbers>(tiles: &'a [Tile], indices: usize, k: usize) -> Self {
        let steps = k.div_ceil(N::STEP);
        Self { tiles: &tiles[..indices.div_ceil(STRIP) * steps * 2], indices, steps }
    }

    pub(super) fn indices(&self) -> usize {
        self.indices
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn count(&self) -> usize {
        self.indices.div_ceil(STRIP)
    }

    /// How many rows or columns of a strip exist.
    pub(super) fn present(&self, strip: usize) -> usize {
        (self.indices - strip * STRIP).min(STRIP)
    }

    /// The tiles of some steps of a strip.
    pub(super) fn part(&self, strip: usize, steps: std::ops::Range<usize>) -> &'a [Tile] {
        let start = strip * self.steps * 2;
        &self.tiles[start + steps.start * 2..start + steps.end * 2]
    }
}

/// Packs a factor whose rows in `layout` are the indices and whose columns are k; `tiles` grows as needed.
pub(super) fn pack<N: Numbers>(x: &[N::Input], layout: Layout, side: Side, tiles: &mut Vec<Tile>) {
    let total = layout.cols.div_ceil(N::STEP) * layout.rows.div_ceil(STRIP) * 2;
    if tiles.len() < total {
        tiles.resize(total, Tile::ZERO);
    }
    pack_into::<N>(x, layout, side, &mut tiles[..total]);
}

/// As [`pack`], to as many tiles as the factor takes.
pub(super) fn pack_into<N: Numbers>(x: &[N::Input], layout: Layout, side: Side, tiles: &mut [Tile]) {
    let steps = layout.cols.div_ceil(N::STEP);
    let strips = layout.rows.div_ceil(STRIP);
    let total = strips * steps * 2;
    assert_eq!(tiles.len(), total, "gemm: {} tiles for {strips} strips of {steps} steps", tiles.len());
    if total == 0 {
        return;
    }
    let pack_part = |strip: usize, step: usize, tile: &mut [Tile]| {
        for (half, tile) in tile.iter_mut().enumerate() {
            pack_tile::<N>(x, &layout, [strip * STRIP + half * SIDE, step * N::STEP], side, tile);
        }
    };
    let wanted = TASKS_PER_THREAD * rayon::current_num_threads();
    if total <= FEW_TILES {
        for (i, tiles) in tiles.chunks_exact_mut(2).enumerate() {
            pack_part(i / steps, i % steps, tiles);
        }
    } else if strips >= wanted {
        // A row of memory that runs across the strips is read in one piece: then step by step, each for all strips of the task.
        let group = if layout.col_stride == 1 { 1 } else { (strips / wanted).min(MOST_STRIPS) };
        tiles.par_chunks_mut(group * steps * 2).enumerate().for_each(|(i, tiles)| {
            for step in 0..steps {
                for (j, tiles) in tiles.chunks_exact_mut(steps * 2).enumerate() {
                    pack_part(i * group + j, step, &mut tiles[step * 2..][..2]);
                }
            }
        });
    } else {
        tiles.par_chunks_mut(2).with_min_len(FEW_TILES / 2).enumerate().for_each(|(i, tiles)| {
            pack_part(i / steps, i % steps, tiles);
        });
    }
}

/// Tiles that one thread packs sooner than a second has begun.
const FEW_TILES: usize = 32;
/// Tasks for each thread, if there are strips enough.
const TASKS_PER_THREAD: usize = 2;
/// Strips of a task.
const MOST_STRIPS: usize = 32;

fn pack_tile<N: Numbers>(x: &[N::Input], layout: &Layout, [index, k]: [usize; 2], side: Side, to: &mut Tile) {
    let count = layout.rows.saturating_sub(index).min(SIDE);
    let len = (layout.cols - k).min(N::STEP);
    if count == 0 {
        *to = Tile::ZERO;
        return;
    }
    let from = &x[index * layout.row_stride + k * layout.col_stride..];
    let rows_are = if layout.col_stride == 1 {
        N::along(from, layout.row_stride, count, len, to);
        Side::Left
    } else if layout.row_stride == 1 {
        N::across(from, layout.col_stride, count, len, to);
        Side::Right
    } else {
        let mut dense = vec![N::Input::default(); count * len];
        for (i, row) in dense.chunks_exact_mut(len).enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = from[i * layout.row_stride + j * layout.col_stride];
            }
        }
        N::along(&dense, len, count, len, to);
        Side::Left
    };
    if rows_are != side {
        to.transpose();
    }
}
