//! Activations as int8: each row is quantised by itself, in chunks of 256 with a scale of their own.
//!
//! With the largest magnitude m of a chunk, q = round(127 x / m), ties to even, and x is about q m / 127: symmetric, so that the
//! sum over k of (u - z) q needs only the sum of q beside the dot product of u and q. It is the absmax rule of dynamic quantisation (Dettmers et al. 2022,
//! arXiv 2208.07339, section 2), by chunks of a row as ggml's Q8_K has them.

use rayon::prelude::*;

use super::format::Shape;
use super::panel::CHUNK;
use crate::simd::dispatch;

/// M rows of K values in int8, chunk by chunk.
pub(super) struct QuantRows {
    rows: usize,
    k: usize,
    /// Values under one start.
    group: usize,
    /// `[chunk][M][256]`; the last chunk may be shorter.
    values: Vec<i8>,
    /// m / 127, `[chunk][M]`.
    scales: Vec<f32>,
    /// `[chunk][M][groups]`: what the dot product of a group begins with, -z times the sum of q; the sum of q itself for formats
    /// with minima, as f32 bits.
    starts: Vec<i32>,
}

/// All rows in one chunk.
#[derive(Clone, Copy)]
pub(super) struct RowChunk<'a> {
    /// k of the chunk.
    pub(super) len: usize,
    /// `[M][len]`.
    pub(super) values: &'a [i8],
    /// `[M]`.
    pub(super) scales: &'a [f32],
    /// `[M][groups]`.
    pub(super) starts: &'a [i32],
}

impl QuantRows {
    /// Quantises `x`, M rows of K values, K a multiple of 32, for weights of this shape.
    pub(super) fn new(x: &[f32], k: usize, shape: Shape) -> Self {
        let rows = x.len().checked_div(k).unwrap_or(0);
        let Shape { group, offset, .. } = shape;
        let mut made = Self {
            rows,
            k,
            group,
            values: vec![0; rows * k],
            scales: vec![0.0; rows * k.div_ceil(CHUNK)],
            starts: vec![0; rows * k / group],
        };
        let mut parts = Vec::new();
        let (mut values, mut starts) = (made.values.as_mut_slice(), made.starts.as_mut_slice());
        for (chunk, scales) in (0..).zip(made.scales.chunks_mut(rows.max(1))) {
            let len = CHUNK.min(k - chunk * CHUNK);
            for (block, scales) in scales.chunks_mut(ROWS_PER_TASK).enumerate() {
                let values = cut_off(&mut values, scales.len() * len);
                let starts = cut_off(&mut starts, scales.len() * len / group);
                parts.push((chunk * CHUNK, len, block * ROWS_PER_TASK, values, scales, starts));
            }
        }
        let fill = |(start, len, first, values, scales, starts): Part<'_>| {
            for (i, scale) in scales.iter_mut().enumerate() {
                let x = &x[(first + i) * k + start..][..len];
                let starts = &mut starts[i * (len / group)..][..len / group];
                *scale = quantise(x, &mut values[i * len..][..len], starts);
                for start in starts {
                    *start = offset.map_or((*start as f32).to_bits() as i32, |offset| -offset * *start);
                }
            }
        };
        if rows * k < LEAST_TO_SHARE {
            parts.into_iter().for_each(fill);
        } else {
            parts.into_par_iter().with_min_len(4).for_each(fill);
        }
        made
    }

    /// The rows in a chunk.
    pub(super) fn chunk(&self, chunk: usize) -> RowChunk<'_> {
        let start = chunk * CHUNK;
        let len = CHUNK.min(self.k - start);
        let part = |unit: usize| self.rows * (start / unit)..self.rows * ((start + len) / unit);
        RowChunk {
            len,
            values: &self.values[part(1)],
            scales: &self.scales[chunk * self.rows..][..self.rows],
            starts: &self.starts[part(self.group)],
        }
    }
}

type Part<'a> = (usize, usize, usize, &'a mut [i8], &'a mut [f32], &'a mut [i32]);

const ROWS_PER_TASK: usize = 16;
/// Fewer values are quantised by this thread, sooner than others would come to help.
const LEAST_TO_SHARE: usize = 1 << 15;

fn cut_off<'a, T>(from: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (first, rest) = std::mem::take(from).split_at_mut(len);
    *from = rest;
    first
}

/// Quantises one chunk of a row, sums each group of it and returns its scale.
fn quantise(x: &[f32], values: &mut [i8], sums: &mut [i32]) -> f32 {
    dispatch!(quantise_body(x: &[f32], values: &mut [i8], sums: &mut [i32]) -> f32)
}

#[inline(always)]
fn quantise_body<S>(_: S, x: &[f32], values: &mut [i8], sums: &mut [i32]) -> f32 {
    /// 1.5 · 2^23: adding it rounds to an integer, ties to even.
    const ROUNDER: f32 = 12_582_912.0;
    // Magnitudes of floats are ordered as their bits are.
    let largest = f32::from_bits(x.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff)));
    if !largest.is_finite() {
        // What is not a number must not become one.
        values.fill(0);
        sums.fill(0);
        return f32::NAN;
    }
    let scale = largest / 127.0;
    let inverse = 1.0 / scale;
    // Of zeros, and far below the least normal number, the inverse overflows: such a chunk counts as zero.
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (x, value) in x.iter().zip(values.iter_mut()) {
        *value = (x * inverse + ROUNDER).to_bits().wrapping_sub(ROUNDER.to_bits()) as i8;
    }
    let group = x.len() / sums.len();
    for (values, sum) in values.chunks_exact(group).zip(sums) {
        *sum = values.iter().map(|value| i32::from(*value)).sum();
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::super::format::QuantFormat;
    use super::*;
    use crate::check::noise;
    use crate::simd::at_each_level;

    #[test]
    fn rows_are_within_half_a_step() {
        let (rows, k) = (21, 416);
        let mut x = noise(1, rows * k).f32;
        x[k..k + 256].fill(0.0);
        x[2 * k..2 * k + 256].fill(1e-44);
        x[3 * k] = f32::NAN;
        for format in [QuantFormat::Q8_0, QuantFormat::Q4_1] {
            let shape = format.shape();
            let (values, scales, starts) = at_each_level(|| {
                let found = QuantRows::new(&x, k, shape);
                (found.values, found.scales.iter().map(|s| s.to_bits()).collect::<Vec<_>>(), found.starts)
            });
            let made = QuantRows {
                rows,
                k,
                group: 32,
                values,
                scales: scales.into_iter().map(f32::from_bits).collect(),
                starts,
            };
            for (at, x) in x.iter().enumerate() {
                let (row, column) = (at / k, at % k);
                let chunk = made.chunk(column / 256);
                let (scale, inner) = (chunk.scales[row], column % 256);
                if row == 3 && column < 256 {
                    assert!(scale.is_nan());
                    continue;
                }
                assert!((f32::from(chunk.values[row * chunk.len + inner]) * scale - x).abs() <= 0.5001 * scale + 1e-37);
                let start = chunk.starts[row * (chunk.len / 32) + inner / 32];
                let values = &chunk.values[row * chunk.len + inner / 32 * 32..][..32];
                let sum: i32 = values.iter().map(|value| i32::from(*value)).sum();
                assert_eq!(start, shape.offset.map_or((sum as f32).to_bits() as i32, |offset| -offset * sum));
            }
            assert!(made.values.contains(&127) && made.values.iter().all(|value| *value > -128));
        }
    }
}
