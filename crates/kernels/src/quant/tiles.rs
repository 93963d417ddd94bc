//! The quantised block on tile registers (Intel AMX): 16 rows × 16 columns of sums for each group of k.
//!
//! Every group has scales of its own, so a product takes the k of one group, 32 or 16 of the 64 that a tile could hold: half or a
//! quarter of the int8 rate, as much as bf16 tiles have. The integers are exact, and what follows in f32 is what `block.rs` says:
//! the bits are those of every other path, and few rows may go another way. bf16 tiles with the scales multiplied in would need no
//! work after each group, but several times the unpacking, which 16 rows of an expert cannot hide, and would give other bits.
//!
//! The sums of all groups of one square wait in level 1 while the products of the next square begin; then a row takes its groups in
//! order. Per square and group that is 16 cycles of products beside 16 stores and 32 or 48 vector operations.
//!
//! **Not run on real units**, as all of `gemm/amx`: tests run this code on emulated tiles, no rate is known.

use std::cell::Cell;

use super::activation::RowChunk;
use super::block::Block;
use super::chunk::Chunk;
use super::panel::{CHUNK, STEP};
use crate::gemm::amx::{SIDE, Shape, Tile, Tiles};
use crate::simd::dispatch;
use crate::tile_product::PANEL;

// Registers: four of sums, two of rows, two of columns. Groups take them in turn.
const ROWS_0: u8 = 4;
const ROWS_1: u8 = 5;
const COLUMNS_0: u8 = 6;
const COLUMNS_1: u8 = 7;
/// Groups of a chunk at most.
const GROUPS: usize = CHUNK / 16;

/// What a thread keeps for its blocks.
#[repr(C, align(64))]
struct Scratch {
    /// w = u - z, `[k / 4][32][4]`.
    weights: [u8; CHUNK * PANEL],
    /// Rows that are no neighbours in memory, side by side.
    rows: [i8; SIDE * CHUNK],
    /// The sums of two squares, group by group.
    sums: [[Tile; GROUPS]; 2],
}

/// A square of the result: which of its rows, and which half of the columns.
#[derive(Clone, Copy)]
struct Square {
    first: usize,
    rows: usize,
    half: usize,
}

pub(super) fn add<T: Tiles>(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    thread_local! {
        static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    }
    assert!(T::available(), "quant: no AMX");
    let mut scratch = SCRATCH.take().unwrap_or_else(|| {
        let sums = [[Tile::ZERO; GROUPS]; 2];
        Box::new(Scratch { weights: [0; CHUNK * PANEL], rows: [0; SIDE * CHUNK], sums })
    });
    scratch.add::<T>(block, rows, x, weights, c);
    SCRATCH.set(Some(scratch));
}

impl Scratch {
    fn add<T: Tiles>(&mut self, block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
        let groups = x.len / block.group;
        let signed = match block.offset {
            0 => weights.planes.low,
            offset => {
                let to = &mut self.weights[..x.len * PANEL];
                to.iter_mut().zip(weights.planes.low).for_each(|(to, u)| *to = u.wrapping_sub(offset));
                to
            }
        };
        let mut tiles = T::start();
        let (mut shaped, mut waiting, mut turn) = (0, None, false);
        for (index, listed) in rows.chunks(SIDE).enumerate() {
            if listed.len() != shaped {
                shaped = listed.len();
                let of = |rows: usize, bytes: usize| Shape { rows: rows as u8, bytes: bytes as u8 };
                let (sums, left, right) = (Shape::of(shaped), of(shaped, block.group), Shape::of(block.group / 4));
                tiles.configure(&[sums, sums, sums, sums, left, left, right, right]);
            }
            let values = neighbours(listed, x, &mut self.rows);
            for half in [0, 1] {
                let [first, second] = &mut self.sums;
                let (sums, others) = if turn { (second, first) } else { (first, second) };
                let columns = &signed[half * 4 * SIDE..];
                products(&mut tiles, block.group, x.len, values, columns, &mut sums[..groups]);
                if let Some(square) = waiting {
                    scale(block, square, rows, x, weights, &others[..groups], c);
                }
                waiting = Some(Square { first: index * SIDE, rows: listed.len(), half });
                turn = !turn;
            }
        }
        drop(tiles);
        if let Some(square) = waiting {
            scale(block, square, rows, x, weights, &self.sums[usize::from(!turn)][..groups], c);
        }
    }
}

/// The values of the listed rows, `[rows][len]`: where they lie if they are neighbours, else a copy.
fn neighbours<'a>(rows: &[u32], x: &RowChunk<'a>, copy: &'a mut [i8]) -> &'a [i8] {
    let row = |row: u32| &x.values[row as usize * x.len..][..x.len];
    if rows.is_sorted_by(|a, b| a.checked_add(1) == Some(*b)) {
        return &x.values[rows[0] as usize * x.len..][..rows.len() * x.len];
    }
    for (to, from) in copy.chunks_exact_mut(x.len).zip(rows) {
        to.copy_from_slice(row(*from));
    }
    &copy[..rows.len() * x.len]
}

/// The sums of each group, for the rows that the registers are shaped for: `values` is `[rows][len]`, `columns` begins with the
/// first four k of 16 columns.
fn products<T: Tiles>(tiles: &mut T, group: usize, len: usize, values: &[i8], columns: &[u8], sums: &mut [Tile]) {
    let groups = sums.len();
    assert!(groups * group == len && values.len().is_multiple_of(len) && values.len() <= SIDE * len);
    assert!(columns.len() + 4 * SIDE >= len * PANEL);
    for first in (0..groups).step_by(4) {
        macro_rules! product {
            ($sum:literal, $rows:ident, $columns:ident) => {
                if first + $sum < groups {
                    let at = (first + $sum) * group;
                    tiles.zero::<$sum>();
                    // SAFETY: the rows hold `len` values each, `group` of them from `at` on; four k of 16 columns are 64 bytes, and the
                    // next four lie `STEP` bytes on. The registers have these shapes.
                    unsafe {
                        tiles.load_rows::<$rows>(values.as_ptr().add(at).cast(), len);
                        tiles.load_rows::<$columns>(columns.as_ptr().add(at / 4 * STEP), STEP);
                    }
                    tiles.dot_i8::<$sum, $rows, $columns>();
                }
            };
        }
        macro_rules! store {
            ($($sum:literal)*) => {
                $(if first + $sum < groups {
                    // SAFETY: a tile in memory holds the most rows that a register can have, 64 bytes apart.
                    unsafe { tiles.store::<$sum>(sums[first + $sum].bytes(), Tile::STRIDE) };
                })*
            };
        }
        product!(0, ROWS_0, COLUMNS_0);
        product!(1, ROWS_1, COLUMNS_1);
        product!(2, ROWS_0, COLUMNS_0);
        product!(3, ROWS_1, COLUMNS_1);
        store!(0 1 2 3);
    }
}

/// Adds the sums of a square to `c`, scaled group after group.
fn scale(
    block: &Block,
    square: Square,
    rows: &[u32],
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    sums: &[Tile],
    c: &mut [f32],
) {
    dispatch!(scale_body(
        block: &Block,
        square: Square,
        rows: &[u32],
        x: &RowChunk<'_>,
        weights: &Chunk<'_>,
        sums: &[Tile],
        c: &mut [f32],
    ))
}

/// Plain loops over 16 columns, which the compiler turns into vectors.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn scale_body<S>(
    _: S,
    block: &Block,
    square: Square,
    rows: &[u32],
    x: &RowChunk<'_>,
    weights: &Chunk<'_>,
    sums: &[Tile],
    c: &mut [f32],
) {
    let Square { first, rows: count, half } = square;
    let columns = |factors: &[f32], group: usize| -> [f32; SIDE] {
        let mut found = [0.0; SIDE];
        found.copy_from_slice(&factors[group * PANEL + half * SIDE..][..SIDE]);
        found
    };
    for (i, row) in rows[first..first + count].iter().enumerate() {
        let row = *row as usize;
        let starts = &x.starts[row * sums.len()..][..sums.len()];
        let mut f = [0.0f32; SIDE];
        for (group, (sums, start)) in sums.iter().zip(starts).enumerate() {
            let scales = columns(weights.scales, group);
            for (j, f) in f.iter_mut().enumerate() {
                *f = (sums.0[i][j] as i32 as f32).mul_add(scales[j], *f);
            }
            if block.minima {
                let (minima, sum) = (columns(weights.minima, group), -f32::from_bits(*start as u32));
                for (j, f) in f.iter_mut().enumerate() {
                    *f = sum.mul_add(minima[j], *f);
                }
            }
        }
        let c = &mut c[(first + i) * PANEL + half * SIDE..][..SIDE];
        for (c, f) in c.iter_mut().zip(f) {
            *c = f.mul_add(x.scales[row], *c);
        }
    }
}
