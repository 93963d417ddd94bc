//! What is multiplied and how it lies in a tile: pairs of bf16 with f32 sums, fours of int8 with i32 sums.

use super::tile::{SIDE, Tile, Tiles};
use crate::simd::{Simd, dispatch};

/// Kinds of numbers that tiles multiply. 32 bits of a tile hold a group of neighbours in k.
pub(crate) trait Numbers {
    /// The values in memory.
    type Input: Copy + Default + Sync;
    /// The values of the result.
    type Sum: Copy + Send;
    /// Values of k in one tile: 16 groups.
    const STEP: usize;

    /// C += A · B.
    fn dot<T: Tiles, const C: u8, const A: u8, const B: u8>(tiles: &mut T);

    /// A tile whose rows are `count` indices and whose columns are the groups of `len` values of k: the values of an index are
    /// neighbours, and indices lie `stride` apart. What is absent becomes zero.
    fn along(x: &[Self::Input], stride: usize, count: usize, len: usize, to: &mut Tile);

    /// A tile whose rows are groups of `len` values of k and whose columns are `count` indices: the indices of a value of k are
    /// neighbours, and values of k lie `stride` apart. What is absent becomes zero.
    fn across(x: &[Self::Input], stride: usize, count: usize, len: usize, to: &mut Tile);
}

/// Inputs f32, rounded to bf16 (to nearest even); sums f32.
#[derive(Debug)]
pub(crate) enum Bf16 {}

/// Inputs signed bytes; sums i32.
#[derive(Debug)]
pub(crate) enum Int8 {}

impl Numbers for Bf16 {
    type Input = f32;
    type Sum = f32;
    const STEP: usize = 2 * SIDE;

    #[inline(always)]
    fn dot<T: Tiles, const C: u8, const A: u8, const B: u8>(tiles: &mut T) {
        tiles.dot_bf16::<C, A, B>();
    }

    fn along(x: &[f32], stride: usize, count: usize, len: usize, to: &mut Tile) {
        dispatch!(pairs_along(x: &[f32], stride: usize, count: usize, len: usize, to: &mut Tile))
    }

    fn across(x: &[f32], stride: usize, count: usize, len: usize, to: &mut Tile) {
        dispatch!(pairs_across(x: &[f32], stride: usize, count: usize, len: usize, to: &mut Tile))
    }
}

impl Numbers for Int8 {
    type Input = i8;
    type Sum = i32;
    const STEP: usize = 4 * SIDE;

    #[inline(always)]
    fn dot<T: Tiles, const C: u8, const A: u8, const B: u8>(tiles: &mut T) {
        tiles.dot_i8::<C, A, B>();
    }

    fn along(x: &[i8], stride: usize, count: usize, len: usize, to: &mut Tile) {
        for (i, row) in to.0.iter_mut().enumerate() {
            let mut values = [0i8; Self::STEP];
            if i < count {
                values[..len].copy_from_slice(&x[i * stride..][..len]);
            }
            for (group, values) in row.iter_mut().zip(values.as_chunks::<4>().0) {
                *group = u32::from_le_bytes(values.map(|x| x as u8));
            }
        }
    }

    fn across(x: &[i8], stride: usize, count: usize, len: usize, to: &mut Tile) {
        for (group, row) in to.0.iter_mut().enumerate() {
            *row = [0; SIDE];
            for (part, k) in (4 * group..len.min(4 * group + 4)).enumerate() {
                for (to, x) in row.iter_mut().zip(&x[k * stride..][..count]) {
                    *to |= u32::from(*x as u8) << (8 * part);
                }
            }
        }
    }
}

/// The upper half of the nearest bf16, of the even one of two; a NaN stays one. A choice without branches.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() { bits >> 16 | 0x40 } else { nearest }
}

#[inline(always)]
fn pairs_along<S: Simd>(_: S, x: &[f32], stride: usize, count: usize, len: usize, to: &mut Tile) {
    for (i, row) in to.0.iter_mut().enumerate() {
        let mut values = [0.0; Bf16::STEP];
        if i < count {
            let from = &x[i * stride..][..len];
            match <[f32; Bf16::STEP]>::try_from(from) {
                Ok(all) => values = all,
                Err(_) => values[..len].copy_from_slice(from),
            }
        }
        let mut halves = [0u16; Bf16::STEP];
        for (half, x) in halves.iter_mut().zip(&values) {
            *half = rounded(*x) as u16;
        }
        // SAFETY: both types are 512 plain bits; the first of a pair is the lower half, as tiles are little-endian.
        *row = unsafe { std::mem::transmute::<[u16; Bf16::STEP], [u32; SIDE]>(halves) };
    }
}

#[inline(always)]
fn pairs_across<S: Simd>(_: S, x: &[f32], stride: usize, count: usize, len: usize, to: &mut Tile) {
    let values = |k: usize| {
        let mut values = [0.0; SIDE];
        if k < len {
            let from = &x[k * stride..][..count];
            match <[f32; SIDE]>::try_from(from) {
                Ok(all) => values = all,
                Err(_) => values[..count].copy_from_slice(from),
            }
        }
        values
    };
    for (p, row) in to.0.iter_mut().enumerate() {
        let (low, high) = (values(2 * p), values(2 * p + 1));
        for (i, pair) in row.iter_mut().enumerate() {
            *pair = rounded(low[i]) | rounded(high[i]) << 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::check::noise;

    #[test]
    fn rounding_is_that_of_bf16() {
        let edges =
            [0.0, -0.0, 1e-40, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
        // Ties, and the neighbours of ties.
        let ties = (0..64u32).map(|i| f32::from_bits(0x3f80_7fff + (i << 15) + i % 3));
        for x in edges.into_iter().chain(ties).chain(noise(1, 1000).f32) {
            assert_eq!(rounded(x), u32::from(bf16::from_f32(x).to_bits()), "{x}");
        }
        assert_eq!(rounded(f32::from_bits(0xffff_ffff)), 0xffff);
    }
}
