//! Quantised weights as panels: the blocks of a GGUF file in another order, unpacked piece by piece next to the units.
//!
//! A panel is 32 output columns (32 rows of the file), a chunk 256 consecutive k of it (the last may be shorter). The record of a
//! chunk holds, in this order: the low plane, the high plane, the scales. u of (k, column) is unpacked to `[k / 4][32][4]`, four k
//! of a column side by side, as the int8 dot products read them.
//!
//! * low plane of 8 bits: that very layout. Of 4 bits: `[k / 8][32][4]`, the low nibble from the first four k of eight.
//! * high plane of 1 bit: `[k / 32][32][4]`, bit s from the s-th four k of 32. Of 2 bits: `[k / 16][32][4]` likewise.
//! * scales as in the file: f16 d (and m) `[k / 32][32]`; or f16 d and dmin `[32]`, then bytes sc and m `[8][32]`; or f16 d `[32]`,
//!   then bytes sc `[16][32]`.
//!
//! Columns beyond N are zeros.

use super::file_block::FileBlock;
use super::format::{QuantFormat, Shape};
use crate::tile_product::PANEL;

/// k of a chunk.
pub(super) const CHUNK: usize = 256;
/// Bytes that hold four k of a panel.
pub(super) const STEP: usize = 4 * PANEL;

/// Bytes of the record of a chunk of `len` k; those of a full chunk of panels with K columns, then those of the rest, make a panel.
pub(super) fn record_bytes(format: QuantFormat, len: usize) -> usize {
    let Shape { low_bits, high_bits, .. } = format.shape();
    (low_bits + high_bits) * len * PANEL / 8 + scale_bytes(format, len)
}

/// Bytes of a panel over K.
pub(super) fn panel_bytes(format: QuantFormat, k: usize) -> usize {
    let rest = if k.is_multiple_of(CHUNK) { 0 } else { record_bytes(format, k % CHUNK) };
    k / CHUNK * record_bytes(format, CHUNK) + rest
}

fn scale_bytes(format: QuantFormat, len: usize) -> usize {
    match format {
        QuantFormat::Q4_0 | QuantFormat::Q5_0 | QuantFormat::Q8_0 => len / 32 * PANEL * 2,
        QuantFormat::Q4_1 => len / 32 * PANEL * 4,
        QuantFormat::Q4K | QuantFormat::Q5K => PANEL * 4 + 16 * PANEL,
        QuantFormat::Q6K => PANEL * 2 + 16 * PANEL,
    }
}

/// Writes the panel of up to 32 rows of the file, each of K weights.
pub(super) fn pack_panel(format: QuantFormat, rows: &[&[u8]], k: usize, panel: &mut [u8]) {
    let Shape { low_bits, high_bits, .. } = format.shape();
    panel.fill(0);
    let mut left = panel;
    for start in (0..k).step_by(CHUNK) {
        let len = CHUNK.min(k - start);
        let (record, rest) = left.split_at_mut(record_bytes(format, len));
        left = rest;
        let (low, record) = record.split_at_mut(low_bits * len * PANEL / 8);
        let (high, scales) = record.split_at_mut(high_bits * len * PANEL / 8);
        for (column, row) in rows.iter().enumerate() {
            let per_block = format.block_len();
            let blocks = row.chunks_exact(format.block_bytes()).skip(start / per_block).take(len / per_block);
            let mut integers = [0u8; CHUNK];
            for (index, bytes) in blocks.enumerate() {
                let block = FileBlock { format, bytes };
                block.integers(&mut integers[index * per_block..][..per_block]);
                pack_scales(block, column, index * per_block / 32, scales, len / 32);
            }
            let fours = &integers[..len].as_chunks::<4>().0;
            let four = |step: usize| u32::from_le_bytes(fours[step]);
            let store = |plane: &mut [u8], step: usize, value: u32| {
                plane[step * STEP + 4 * column..][..4].copy_from_slice(&value.to_le_bytes());
            };
            if low_bits == 8 {
                (0..len / 4).for_each(|step| store(low, step, four(step)));
            } else {
                let nibbles = |step: usize| four(step) & 0x0f0f_0f0f;
                (0..len / 8).for_each(|pair| store(low, pair, nibbles(2 * pair) | nibbles(2 * pair + 1) << 4));
            }
            if let Some(per_plane) = 8usize.checked_div(high_bits) {
                let mask = if high_bits == 1 { 0x0101_0101 } else { 0x0303_0303 };
                for plane in 0..len / 4 / per_plane {
                    let bits = |s: usize| (four(plane * per_plane + s) >> 4 & mask) << (high_bits * s);
                    store(high, plane, (0..per_plane).map(bits).fold(0, |all, bits| all | bits));
                }
            }
        }
    }
}

/// The scales of a block whose first k is the `group`-th 32 of `groups` in its chunk.
fn pack_scales(block: FileBlock<'_>, column: usize, group: usize, scales: &mut [u8], groups: usize) {
    let mut half = |at: usize, from: usize| scales[2 * at..2 * at + 2].copy_from_slice(&block.bytes[from..from + 2]);
    match block.format {
        QuantFormat::Q4_0 | QuantFormat::Q5_0 | QuantFormat::Q8_0 => half(group * PANEL + column, 0),
        QuantFormat::Q4_1 => {
            half(group * PANEL + column, 0);
            half((groups + group) * PANEL + column, 2);
        }
        QuantFormat::Q4K | QuantFormat::Q5K => {
            half(column, 0);
            half(PANEL + column, 2);
            for group in 0..8 {
                let [scale, minimum] = block.six_bits(group);
                scales[4 * PANEL + group * PANEL + column] = scale;
                scales[4 * PANEL + (8 + group) * PANEL + column] = minimum;
            }
        }
        QuantFormat::Q6K => {
            half(column, 208);
            for group in 0..16 {
                scales[2 * PANEL + group * PANEL + column] = block.bytes[192 + group];
            }
        }
    }
}
