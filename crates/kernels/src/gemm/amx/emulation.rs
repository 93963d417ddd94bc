//! The tile registers in plain Rust, for tests: what the manual says that each instruction does, and what it forbids.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO,
//! TDPBF16PS, TDPBSSD. What raises an exception there fails the test here. A result is denormal (and becomes zero) if it is after
//! rounding with unbounded exponents, as elsewhere on x86; the manual does not say so for tiles.

use super::tile::{SIDE, Shape, Tile, Tiles};
use crate::simd::{Simd, dispatch};

#[derive(Debug)]
pub(crate) struct Emulation {
    shapes: Option<[Shape; 8]>,
    tiles: [Tile; 8],
}

impl Emulation {
    /// The shape of a register that may be used now.
    fn shape(&self, t: u8) -> Shape {
        let shape = self.shapes.expect("#UD: no tiles are configured")[usize::from(t)];
        assert!(shape.rows > 0 && shape.bytes.is_multiple_of(4), "#UD: tile {t} is {shape:?}");
        shape
    }

    /// Rows of C, groups of k and columns of C of a product.
    fn sizes(&self, c: u8, a: u8, b: u8) -> [usize; 3] {
        assert!(c != a && c != b && a != b, "#UD: {c}, {a} and {b} are not three tiles");
        let [sums, left, right] = [c, a, b].map(|t| self.shape(t));
        assert!(
            sums.bytes == right.bytes && sums.rows == left.rows && left.bytes / 4 == right.rows,
            "#UD: unlike shapes"
        );
        [sums.rows, right.rows, sums.bytes / 4].map(usize::from)
    }

    /// Writes the register that a product has changed: the rest of it is zero.
    fn set(&mut self, c: u8, [rows, _, columns]: [usize; 3], value: impl Fn(usize, usize) -> u32) {
        let mut tile = Tile::ZERO;
        for (i, row) in tile.0.iter_mut().enumerate().take(rows) {
            for (j, to) in row.iter_mut().enumerate().take(columns) {
                *to = value(i, j);
            }
        }
        self.tiles[usize::from(c)] = tile;
    }
}

impl Tiles for Emulation {
    fn available() -> bool {
        true
    }

    fn start() -> Self {
        Self { shapes: None, tiles: [Tile::ZERO; 8] }
    }

    fn configure(&mut self, shapes: &[Shape; 8]) {
        for shape in shapes {
            assert!(usize::from(shape.rows) <= SIDE && shape.bytes <= 64, "#GP: {shape:?}");
            assert_eq!(shape.rows == 0, shape.bytes == 0, "#GP: {shape:?}");
        }
        *self = Self { shapes: Some(*shapes), ..Self::start() };
    }

    fn zero<const T: u8>(&mut self) {
        self.shape(T);
        self.tiles[usize::from(T)] = Tile::ZERO;
    }

    unsafe fn load_rows<const T: u8>(&mut self, from: *const u8, stride: usize) {
        let shape = self.shape(T);
        self.set(T, [shape.rows.into(), 0, usize::from(shape.bytes / 4)], |i, j| {
            // SAFETY: the caller's promise: row and column lie in the register's shape.
            unsafe { from.add(i * stride + 4 * j).cast::<u32>().read_unaligned() }
        });
    }

    unsafe fn store<const T: u8>(&self, to: *mut u8, stride: usize) {
        let shape = self.shape(T);
        for (i, row) in self.tiles[usize::from(T)].0.iter().enumerate().take(shape.rows.into()) {
            // SAFETY: the caller's promise.
            unsafe { to.add(i * stride).copy_from_nonoverlapping(row.as_ptr().cast(), shape.bytes.into()) };
        }
    }

    fn dot_bf16<const C: u8, const A: u8, const B: u8>(&mut self) {
        let [rows, groups, columns] = self.sizes(C, A, B);
        let [sums, left, right] = [C, A, B].map(|t| self.tiles[usize::from(t)]);
        let found = bf16(&sums, &left, &right, groups);
        self.set(C, [rows, groups, columns], |i, j| found.0[i][j]);
    }

    fn dot_i8<const C: u8, const A: u8, const B: u8>(&mut self) {
        let sizes = self.sizes(C, A, B);
        let [sums, left, right] = [C, A, B].map(|t| self.tiles[usize::from(t)]);
        let four = |group: u32| group.to_le_bytes().map(|x| i32::from(x as i8));
        self.set(C, sizes, |i, j| {
            let products = (0..sizes[1]).flat_map(|p| {
                let (left, right) = (four(left.0[i][p]), four(right.0[p][j]));
                left.into_iter().zip(right).map(|(x, y)| x * y)
            });
            products.fold(sums.0[i][j] as i32, i32::wrapping_add) as u32
        });
    }

    fn prefetch(_: *const Tile) {}
}

fn bf16(sums: &Tile, left: &Tile, right: &Tile, groups: usize) -> Tile {
    dispatch!(bf16_body(sums: &Tile, left: &Tile, right: &Tile, groups: usize) -> Tile)
}

#[inline(always)]
fn bf16_body<S: Simd>(_: S, sums: &Tile, left: &Tile, right: &Tile, groups: usize) -> Tile {
    let halves = |group: u32| [group << 16, group & 0xffff_0000].map(|bits| flushed(f32::from_bits(bits)));
    let mut found = Tile::ZERO;
    let right = right.0.map(|row| row.map(halves));
    for ((row, left), found) in sums.0.iter().zip(&left.0).zip(&mut found.0) {
        let mut chains = [[0.0f32; SIDE]; 2];
        for (left, right) in left.iter().zip(&right).take(groups) {
            for (half, (left, chain)) in halves(*left).into_iter().zip(&mut chains).enumerate() {
                *chain = add_products(*chain, left, right.map(|pair| pair[half]));
            }
        }
        for (j, found) in found.iter_mut().enumerate() {
            let pair = flushed(chains[0][j] + chains[1][j]);
            *found = flushed(flushed(f32::from_bits(row[j])) + pair).to_bits();
        }
    }
    found
}

/// `sums + left · right`, each rounded once; denormal results become zero.
#[inline(always)]
fn add_products(sums: [f32; SIDE], left: f32, right: [f32; SIDE]) -> [f32; SIDE] {
    let mut found = sums;
    let mut borders = false;
    for (found, right) in found.iter_mut().zip(right) {
        let exact = left.mul_add(right, *found);
        borders |= exact.abs() == f32::MIN_POSITIVE;
        *found = flushed(exact);
    }
    if borders {
        for ((found, sum), right) in found.iter_mut().zip(sums).zip(right) {
            // What is exactly the smallest normal number may have been rounded up to it from below. In f64 the product is exact, and
            // so near to that number the sum is on the right side of the border even where it is rounded.
            let wide = f64::from(left) * f64::from(right) + f64::from(sum);
            let normal = f64::from(f32::MIN_POSITIVE);
            if found.abs() == f32::MIN_POSITIVE && wide.abs() < normal * (1.0 - 2f64.powi(-25)) {
                *found = 0f32.copysign(*found);
            }
        }
    }
    found
}

/// A denormal number as zero of its sign.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0f32.copysign(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C after the product of one row and one column, whose pairs are given.
    fn dot(sum: f32, left: &[[f32; 2]], right: &[[f32; 2]]) -> f32 {
        let bits = |x: f32| half::bf16::from_f32(x).to_bits();
        let group = |pair: &[f32; 2]| u32::from(bits(pair[0])) | u32::from(bits(pair[1])) << 16;
        let shape = |rows: usize, columns: usize| Shape { rows: rows as u8, bytes: 4 * columns as u8 };
        let mut tiles = Emulation::start();
        let (c, a, b) = (shape(1, 1), shape(1, left.len()), shape(right.len(), 1));
        tiles.configure(&[c, a, b, b, b, b, b, b]);
        let [mut sums, mut rows, mut columns] = [Tile::ZERO; 3];
        sums.0[0][0] = sum.to_bits();
        rows.0[0].iter_mut().zip(left).for_each(|(to, pair)| *to = group(pair));
        columns.0.iter_mut().zip(right).for_each(|(to, pair)| to[0] = group(pair));
        tiles.load::<0>(&sums);
        tiles.load::<1>(&rows);
        tiles.load::<2>(&columns);
        tiles.dot_bf16::<0, 1, 2>();
        // SAFETY: a tile in memory holds the most rows that a register can have.
        unsafe { tiles.store::<0>(sums.bytes(), Tile::STRIDE) };
        f32::from_bits(sums.0[0][0])
    }

    #[test]
    fn two_chains_of_products_then_their_sum_then_the_old_value() {
        let big = 2f32.powi(24);
        let ones = [[1.0; 2]; 4];
        // Each 1 is lost beside 2^24, the four of the other chain are not; 2^24 + 4 + 3 then rounds to even.
        assert_eq!(dot(3.0, &[[big, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], &ones), big + 8.0);
        assert_eq!(dot(0.0, &[[1.0, big], [1.0, -big], [1.0, 1.0], [1.0, 1.0]], &ones), 6.0);
        assert!(dot(0.0, &[[f32::INFINITY, f32::NEG_INFINITY]], &ones[..1]).is_nan());
    }

    #[test]
    fn denormal_numbers_are_zero() {
        let two = |exponent: i32| 2f32.powi(exponent);
        assert_eq!(dot(0.0, &[[two(-127), 0.0]], &[[two(100), 0.0]]), 0.0);
        assert_eq!(dot(two(-130), &[[0.0; 2]], &[[0.0; 2]]), 0.0);
        assert_eq!(dot(0.0, &[[two(-70), 0.0]], &[[-two(-60), 0.0]]).to_bits(), 0, "-0 + 0");
        assert_eq!(dot(two(-126), &[[two(-63), 0.0]], &[[-1.5 * two(-63), 0.0]]), 0.0);
        // Just under the smallest normal number, by more and by less than half of the last place below it.
        let under = |x: f32| dot(0.0, &[[two(-63), 0.0], [x, 0.0]], &[[two(-63), 0.0], [-two(-76), 0.0]]);
        assert_eq!(under(1.5 * two(-75)), 0.0);
        assert_eq!(under(1.5 * two(-76)), two(-126));
    }

    #[test]
    fn shapes_bound_what_is_read_and_written() {
        let full = Tile([[7; SIDE]; SIDE]);
        let mut tiles = Emulation::start();
        tiles.configure(&[Shape { rows: 3, bytes: 20 }; 8]);
        tiles.load::<2>(&full);
        let mut seen = Tile::ZERO;
        // SAFETY: a tile in memory holds the most rows that a register can have.
        unsafe { tiles.store::<2>(seen.bytes(), Tile::STRIDE) };
        for (i, row) in seen.0.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert_eq!(*value, if i < 3 && j < 5 { 7 } else { 0 });
            }
        }
    }

    #[test]
    #[should_panic(expected = "unlike shapes")]
    fn unlike_shapes_are_forbidden() {
        let mut tiles = Emulation::start();
        let (few, many) = (Shape { rows: 3, bytes: 64 }, Shape::of(SIDE));
        tiles.configure(&[many, few, many, many, many, many, many, many]);
        tiles.dot_i8::<0, 1, 2>();
    }

    #[test]
    #[should_panic(expected = "#UD")]
    fn a_tile_without_a_shape_cannot_be_used() {
        let mut tiles = Emulation::start();
        tiles.configure(&[Shape::default(); 8]);
        tiles.zero::<0>();
    }
}
