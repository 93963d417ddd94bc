//! Keys and values of one head, block by block, and queries of a tile, brought into the order that the products read.

use std::ops::Range;

use super::shape::{AttentionShape, Segments};
use crate::simd::{LANES, Simd, dispatch};
use crate::tile_product::PANEL;

/// A block of keys of one task.
pub(super) struct Block<'a> {
    pub(super) shape: &'a AttentionShape,
    pub(super) segments: &'a Segments<'a>,
    pub(super) task: usize,
    /// The keys of it that any row sees.
    pub(super) span: Range<usize>,
}

impl Block<'_> {
    /// Keys as rows of `width` values, and values as panels `[Dh / 32, span, 32]`; both ended by zeros up to whole lanes.
    pub(super) fn pack_forward(&self, width: usize, keys: &mut [f32], values: &mut [f32]) {
        let panel_len = self.span.len() * PANEL;
        self.segments.for_each(self.shape, self.task, self.span.clone(), |i, key, value| {
            write_row(key, &mut keys[i * width..][..width]);
            write_panels(value, panel_len, &mut values[i * PANEL..]);
        });
    }

    /// Keys and values as rows of `width` values ended by zeros.
    pub(super) fn pack_rows(&self, width: usize, keys: &mut [f32], values: &mut [f32]) {
        self.segments.for_each(self.shape, self.task, self.span.clone(), |i, key, value| {
            write_row(key, &mut keys[i * width..][..width]);
            write_row(value, &mut values[i * width..][..width]);
        });
    }
}

/// The keys of a block of about `values` values, at most `most`, in whole tiles of the products (12 keys).
pub(super) fn block_keys(head_dim: usize, [values, most]: [usize; 2]) -> usize {
    (values / head_dim.max(1)).clamp(48, most) / 12 * 12
}

/// Copies a row and ends it by zeros.
pub(super) fn write_row(from: &[f32], to: &mut [f32]) {
    to[..from.len()].copy_from_slice(from);
    to[from.len()..].fill(0.0);
}

/// Copies a row in pieces of 32 values that lie `panel_len` apart; the last lanes end by zeros.
fn write_panels(from: &[f32], panel_len: usize, to: &mut [f32]) {
    dispatch!(write_panels_body(from: &[f32], panel_len: usize, to: &mut [f32]))
}

#[inline(always)]
fn write_panels_body<S: Simd>(s: S, from: &[f32], panel_len: usize, to: &mut [f32]) {
    for (panel, piece) in from.chunks(PANEL).enumerate() {
        for (half, lanes) in piece.chunks(LANES).enumerate() {
            s.store(s.load_partial(lanes, 0.0), &mut to[panel * panel_len + half * LANES..]);
        }
    }
}

/// Writes rows of `dim` values, times `factor`, as columns: panels `[rows / 32, dim, 32]`, of which whole lanes are filled,
/// absent rows with zeros. `row` gives a row by its number.
pub(super) fn transpose<'a>(count: usize, dim: usize, row: impl Fn(usize) -> &'a [f32], factor: f32, to: &mut [f32]) {
    for first in (0..count).step_by(LANES) {
        let mut rows: [&[f32]; LANES] = [&[]; LANES];
        for (i, slot) in rows.iter_mut().enumerate().take(count - first) {
            *slot = &row(first + i)[..dim];
        }
        let panel = &mut to[first / PANEL * dim * PANEL + first % PANEL..];
        transpose_lanes(&rows, dim, factor, panel);
    }
}

fn transpose_lanes(rows: &[&[f32]; LANES], dim: usize, factor: f32, to: &mut [f32]) {
    dispatch!(transpose_body(rows: &[&[f32]; LANES], dim: usize, factor: f32, to: &mut [f32]))
}

#[inline(always)]
fn transpose_body<S: Simd>(s: S, rows: &[&[f32]; LANES], dim: usize, factor: f32, to: &mut [f32]) {
    let factor = s.splat(factor);
    for start in (0..dim).step_by(LANES) {
        let end = dim.min(start + LANES);
        let mut square = [s.splat(0.0); LANES];
        for (line, row) in square.iter_mut().zip(rows).filter(|(_, row)| !row.is_empty()) {
            *line = s.mul(s.load_partial(&row[start..end], 0.0), factor);
        }
        for (i, line) in s.transpose(square).into_iter().enumerate().take(end - start) {
            s.store(line, &mut to[(start + i) * PANEL..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::noise;
    use crate::simd::at_each_level;

    #[test]
    fn rows_become_columns() {
        for (count, dim) in [(1, 1), (16, 16), (33, 40), (50, 7)] {
            let rows = noise(1, count * dim).f32;
            let found = at_each_level(|| {
                let mut to = vec![9.0; count.next_multiple_of(PANEL) * dim];
                transpose(count, dim, |i| &rows[i * dim..], 0.5, &mut to);
                to
            });
            for column in 0..count.next_multiple_of(LANES) {
                for d in 0..dim {
                    let expected = if column < count { 0.5 * rows[column * dim + d] } else { 0.0 };
                    assert_eq!(found[(column / PANEL * dim + d) * PANEL + column % PANEL], expected);
                }
            }
        }
    }
}
