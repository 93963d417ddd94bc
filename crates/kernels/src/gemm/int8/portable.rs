//! The int8 product in plain Rust: what the other paths are compared with.

use super::product::{Rows, Sums};
use crate::simd::dispatch;
use crate::tile_product::PANEL;

pub(super) fn add(x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    dispatch!(body(x: Rows<'_>, weights: &[u8], sums: &mut Sums))
}

#[inline(always)]
fn body<S>(_: S, x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    for (sums, values) in sums.iter_mut().zip(x.values.chunks_exact(x.k)) {
        for (values, weights) in values.chunks_exact(4).zip(weights.chunks_exact(4 * PANEL)) {
            let values: [i32; 4] = std::array::from_fn(|i| i32::from(values[i] as i8));
            for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(4)) {
                for (value, weight) in values.iter().zip(weights) {
                    *sum = sum.wrapping_add(value * i32::from(*weight as i8));
                }
            }
        }
    }
}
