//! Random quantised weights of a wanted spread, made in place: big models can be timed without their files.

use rayon::prelude::*;

use super::format::QuantFormat;

/// Blocks of a matrix of `rows` rows of `columns` weights with a mean within half a step of zero and standard deviation `deviation`; the integers
/// are uniform, the scales all alike. `None` where rows are not whole blocks. The same seed gives the same bytes.
pub fn random_blocks(format: QuantFormat, [rows, columns]: [usize; 2], deviation: f32, seed: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; format.matrix_bytes(rows, columns)?];
    // Integers below 2^b, each as likely as the others, deviate by 2^b / sqrt 12.
    let bits = match format {
        QuantFormat::Q8_0 => 8,
        QuantFormat::Q6K => 6,
        QuantFormat::Q5_0 | QuantFormat::Q5K => 5,
        QuantFormat::Q4_0 | QuantFormat::Q4_1 | QuantFormat::Q4K => 4,
    };
    let levels = (1u32 << bits) as f32;
    let scale = deviation * 12f32.sqrt() / levels;
    let middle = (levels - 1.0) / 2.0;
    let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
    bytes.par_chunks_mut(format.block_bytes()).enumerate().with_min_len(64).for_each(|(index, block)| {
        let mut state = seed ^ (index as u64).wrapping_mul(0xd134_2543_de82_ef95);
        for bytes in block.chunks_mut(8) {
            bytes.copy_from_slice(&next(&mut state).to_le_bytes()[..bytes.len()]);
        }
        match format {
            QuantFormat::Q4_0 | QuantFormat::Q5_0 | QuantFormat::Q8_0 => block[..2].copy_from_slice(&half(scale)),
            QuantFormat::Q4_1 => {
                block[..2].copy_from_slice(&half(scale));
                block[2..4].copy_from_slice(&half(-scale * middle));
            }
            QuantFormat::Q4K | QuantFormat::Q5K => {
                // Every scale and minimum is 32: in ggml's packing 32 in the first eight bytes with the upper bits 2, and zeros.
                block[..2].copy_from_slice(&half(scale / 32.0));
                block[2..4].copy_from_slice(&half(scale * middle / 32.0));
                block[4..12].fill(32 | 2 << 6);
                block[12..16].fill(0);
            }
            QuantFormat::Q6K => {
                block[192..208].fill(64);
                block[208..].copy_from_slice(&half(scale / 64.0));
            }
        }
    });
    Some(bytes)
}

/// splitmix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_spread_as_asked() {
        for format in QuantFormat::ALL {
            let blocks = random_blocks(format, [40, 512], 0.03, 7).expect("whole blocks");
            assert_eq!(Some(&blocks), random_blocks(format, [40, 512], 0.03, 7).as_ref());
            let mut weights = vec![0.0; 40 * 512];
            format.dequantize(&blocks, &mut weights).expect("whole blocks");
            let count = weights.len() as f64;
            let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / count;
            let square = weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / count;
            assert!(mean.abs() < 0.004 && (square.sqrt() / 0.03 - 1.0).abs() < 0.05, "{format}: {mean} {square}");
        }
        assert_eq!(random_blocks(QuantFormat::Q4K, [1, 32], 0.1, 1), None);
    }
}
