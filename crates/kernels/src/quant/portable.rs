//! The quantised block in plain Rust: what the other paths are compared with.

use super::activation::RowChunk;
use super::block::Block;
use super::chunk::Chunk;
use super::panel::STEP;
use crate::tile_product::PANEL;

pub(super) fn add(block: &Block, rows: &[u32], x: &RowChunk<'_>, weights: &Chunk<'_>, c: &mut [f32]) {
    let (steps, groups) = (block.group / 4, x.len / block.group);
    for (c, row) in c.chunks_exact_mut(PANEL).zip(rows) {
        let row = *row as usize;
        let (values, starts) = (&x.values[row * x.len..][..x.len], &x.starts[row * groups..][..groups]);
        let mut f = [0.0f32; PANEL];
        for (group, (values, start)) in values.chunks_exact(block.group).zip(starts).enumerate() {
            let mut sums = [if block.minima { 0 } else { *start }; PANEL];
            for (step, values) in values.chunks_exact(4).enumerate() {
                let integers = &weights.planes.low[(group * steps + step) * STEP..][..STEP];
                for (sum, u) in sums.iter_mut().zip(integers.chunks_exact(4)) {
                    for (q, u) in values.iter().zip(u) {
                        *sum = sum.wrapping_add(i32::from(*q) * i32::from(*u));
                    }
                }
            }
            let at = group * PANEL..(group + 1) * PANEL;
            for ((f, sum), scale) in f.iter_mut().zip(sums).zip(&weights.scales[at.clone()]) {
                *f = (sum as f32).mul_add(*scale, *f);
            }
            if block.minima {
                let sum = -f32::from_bits(*start as u32);
                for (f, minimum) in f.iter_mut().zip(&weights.minima[at]) {
                    *f = sum.mul_add(*minimum, *f);
                }
            }
        }
        for (c, f) in c.iter_mut().zip(f) {
            *c = f.mul_add(x.scales[row], *c);
        }
    }
}
