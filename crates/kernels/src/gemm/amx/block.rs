//! One block of the result: 32 rows × 32 columns, or fewer rows, in four tiles of sums.

use super::numbers::Numbers;
use super::strips::STRIP;
use super::tile::{SIDE, Shape, Tile, Tiles};

// Registers. Sums (i, j) belong to tile i of the left factor and tile j of the right.
const SUM_00: u8 = 0;
const SUM_01: u8 = 1;
const SUM_10: u8 = 2;
const SUM_11: u8 = 3;
const LEFT_0: u8 = 4;
const LEFT_1: u8 = 5;
const RIGHT_0: u8 = 6;
const RIGHT_1: u8 = 7;

/// The sums of a block while they wait, in the order of their registers.
pub(super) type Sums = [Tile; 4];

/// What a block fetches for the next ones: in each step, its share of the tiles that lie `ahead` steps further on.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    steps: usize,
    first: usize,
    count: usize,
}

/// Part of a result: `start` is its first value, rows lie `stride` values apart, `width` columns exist (all rows of the block do).
#[derive(Clone, Copy)]
pub(super) struct Target<S> {
    pub(super) start: *mut S,
    pub(super) stride: usize,
    pub(super) width: usize,
}

/// A block of a certain number of rows, which the registers are shaped for.
pub(super) struct Block<'a, T> {
    tiles: &'a mut T,
    rows: usize,
}

impl Ahead {
    pub(super) const NOTHING: Self = Self { steps: 0, first: 0, count: 0 };

    /// The share of block `i` of `of` blocks that use the same tiles.
    pub(super) fn share(steps: usize, i: usize, of: usize) -> Self {
        let at = |i: usize| 2 * SIDE * i / of;
        Self { steps, first: at(i), count: at(i + 1) - at(i) }
    }
}

impl<'a, T: Tiles> Block<'a, T> {
    /// Shapes the registers for blocks of `rows` rows: products take as long as the left factor has rows.
    pub(super) fn new(tiles: &'a mut T, rows: usize) -> Self {
        assert!((1..=STRIP).contains(&rows));
        let (upper, lower, all) = (Shape::of(rows.min(SIDE)), Shape::of(rows.saturating_sub(SIDE)), Shape::of(SIDE));
        tiles.configure(&[upper, upper, lower, lower, upper, lower, all, all]);
        Self { tiles, rows }
    }

    /// Adds the products of some steps of both factors to the sums, which start from `from` or from zero.
    #[inline]
    pub(super) fn add<N: Numbers>(&mut self, from: Option<&Sums>, left: &[Tile], right: &[Tile], ahead: Ahead) {
        if self.rows > SIDE {
            self.add_rows::<N, true>(from, left, right, ahead);
        } else {
            self.add_rows::<N, false>(from, left, right, ahead);
        }
    }

    #[inline(always)]
    fn add_rows<N: Numbers, const LOWER: bool>(
        &mut self,
        from: Option<&Sums>,
        left: &[Tile],
        right: &[Tile],
        ahead: Ahead,
    ) {
        assert_eq!(left.len(), right.len(), "gemm: the factors have unlike steps");
        let tiles = &mut *self.tiles;
        match from {
            None => {
                tiles.zero::<SUM_00>();
                tiles.zero::<SUM_01>();
                if LOWER {
                    tiles.zero::<SUM_10>();
                    tiles.zero::<SUM_11>();
                }
            }
            Some(sums) => {
                tiles.load::<SUM_00>(&sums[0]);
                tiles.load::<SUM_01>(&sums[1]);
                if LOWER {
                    tiles.load::<SUM_10>(&sums[2]);
                    tiles.load::<SUM_11>(&sums[3]);
                }
            }
        }
        for (left, right) in left.as_chunks::<2>().0.iter().zip(right.as_chunks::<2>().0) {
            tiles.load::<RIGHT_0>(&right[0]);
            tiles.load::<LEFT_0>(&left[0]);
            N::dot::<T, SUM_00, LEFT_0, RIGHT_0>(tiles);
            tiles.load::<RIGHT_1>(&right[1]);
            N::dot::<T, SUM_01, LEFT_0, RIGHT_1>(tiles);
            if LOWER {
                tiles.load::<LEFT_1>(&left[1]);
                N::dot::<T, SUM_10, LEFT_1, RIGHT_0>(tiles);
                N::dot::<T, SUM_11, LEFT_1, RIGHT_1>(tiles);
            }
            let next = right.as_ptr().wrapping_add(2 * ahead.steps).cast::<[u32; SIDE]>();
            for line in ahead.first..ahead.first + ahead.count {
                T::prefetch(next.wrapping_add(line).cast());
            }
        }
    }

    /// Lets the sums wait.
    #[inline]
    pub(super) fn keep(&mut self, sums: &mut Sums) {
        let [a, b, c, d] = sums;
        // SAFETY: a tile in memory holds the most rows that a register can have, 64 bytes apart.
        unsafe {
            self.tiles.store::<SUM_00>(a.bytes(), Tile::STRIDE);
            self.tiles.store::<SUM_01>(b.bytes(), Tile::STRIDE);
            if self.rows > SIDE {
                self.tiles.store::<SUM_10>(c.bytes(), Tile::STRIDE);
                self.tiles.store::<SUM_11>(d.bytes(), Tile::STRIDE);
            }
        }
    }

    /// Writes the sums to the result.
    ///
    /// # Safety
    /// All rows of the block and `width` columns must be writable at `to`.
    #[inline]
    pub(super) unsafe fn finish<N: Numbers>(&mut self, to: Target<N::Sum>) {
        // SAFETY: the caller's promise; the lower rows begin 16 further down, the right columns 16 to the right.
        unsafe {
            self.finish_tile::<N, SUM_00>(to, 0, 0);
            self.finish_tile::<N, SUM_01>(to, 0, SIDE);
            if self.rows > SIDE {
                self.finish_tile::<N, SUM_10>(to, SIDE, 0);
                self.finish_tile::<N, SUM_11>(to, SIDE, SIDE);
            }
        }
    }

    /// # Safety
    /// As [`Self::finish`]; the tile's first value belongs at `row`, `column` of the block.
    #[inline(always)]
    unsafe fn finish_tile<N: Numbers, const SUM: u8>(&mut self, to: Target<N::Sum>, row: usize, column: usize) {
        const { assert!(size_of::<N::Sum>() == size_of::<u32>()) };
        let start = to.start.wrapping_add(row * to.stride + column);
        let width = to.width.saturating_sub(column);
        if width >= SIDE {
            // SAFETY: the tile's rows exist, and all sixteen of its columns.
            unsafe { self.tiles.store::<SUM>(start.cast(), to.stride * size_of::<N::Sum>()) };
        } else if width > 0 {
            let mut edge = Tile::ZERO;
            // SAFETY: a tile in memory holds the most rows that a register can have, 64 bytes apart.
            unsafe { self.tiles.store::<SUM>(edge.bytes(), Tile::STRIDE) };
            for (i, values) in edge.0.iter().enumerate().take(self.rows - row) {
                // SAFETY: the row exists and so do `width` of its columns; the types are of one size.
                unsafe {
                    start.wrapping_add(i * to.stride).copy_from_nonoverlapping(values.as_ptr().cast(), width);
                }
            }
        }
    }
}
