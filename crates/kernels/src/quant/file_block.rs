//! One block of a GGUF file: where its integers and scales lie, as defined by ggml (ggml-common.h, ggml-quants.c).

use super::format::QuantFormat;

/// One block as it lies in the file.
#[derive(Clone, Copy)]
pub(crate) struct FileBlock<'a> {
    pub(crate) format: QuantFormat,
    pub(crate) bytes: &'a [u8],
}

impl FileBlock<'_> {
    /// u of all weights of the block.
    pub(crate) fn integers(&self, out: &mut [u8]) {
        let bytes = self.bytes;
        match self.format {
            QuantFormat::Q4_0 => nibbles(&bytes[2..], 16, out),
            QuantFormat::Q4_1 => nibbles(&bytes[4..], 16, out),
            QuantFormat::Q5_0 => {
                nibbles(&bytes[6..], 16, out);
                let high = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
                out.iter_mut().enumerate().for_each(|(k, u)| *u |= ((high >> k & 1) as u8) << 4);
            }
            QuantFormat::Q8_0 => {
                out.iter_mut().zip(&bytes[2..]).for_each(|(u, q)| *u = q.wrapping_add(128));
            }
            QuantFormat::Q4K => nibbles(&bytes[16..], 32, out),
            QuantFormat::Q5K => {
                nibbles(&bytes[48..], 32, out);
                for (group, out) in out.chunks_exact_mut(32).enumerate() {
                    out.iter_mut().zip(&bytes[16..48]).for_each(|(u, high)| *u |= (high >> group & 1) << 4);
                }
            }
            QuantFormat::Q6K => {
                // Halves of 128: quarters 0 and 2 share low bytes, as do 1 and 3; one byte of high bits serves all four.
                for (index, out) in out.chunks_exact_mut(32).enumerate() {
                    let (half, quarter) = (index / 4, index % 4);
                    let low = &bytes[half * 64 + quarter % 2 * 32..][..32];
                    let high = &bytes[128 + half * 32..][..32];
                    for ((u, low), high) in out.iter_mut().zip(low).zip(high) {
                        *u = low >> (quarter / 2 * 4) & 15 | (high >> (2 * quarter) & 3) << 4;
                    }
                }
            }
        }
    }

    /// s of a group.
    pub(crate) fn scale(&self, group: usize) -> f32 {
        match self.format {
            QuantFormat::Q4K | QuantFormat::Q5K => self.half(0) * f32::from(self.six_bits(group)[0]),
            QuantFormat::Q6K => self.half(208) * f32::from(self.bytes[192 + group] as i8),
            _ => self.half(0),
        }
    }

    /// c of 32 weights of a format with minima.
    pub(crate) fn minimum(&self, group: usize) -> f32 {
        match self.format {
            QuantFormat::Q4_1 => -self.half(2),
            QuantFormat::Q4K | QuantFormat::Q5K => self.half(2) * f32::from(self.six_bits(group)[1]),
            _ => 0.0,
        }
    }

    /// The scale and the minimum of 32 weights of a block of 256: twelve bytes hold eight pairs of six bits.
    pub(crate) fn six_bits(&self, group: usize) -> [u8; 2] {
        let q = &self.bytes[4..16];
        if group < 4 {
            return [q[group] & 63, q[group + 4] & 63];
        }
        [q[group + 4] & 15 | q[group - 4] >> 6 << 4, q[group + 4] >> 4 | q[group] >> 6 << 4]
    }

    fn half(&self, at: usize) -> f32 {
        f16_to_f32(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }
}

/// Groups of `2 half` integers: low nibbles first, then the high ones of the same bytes.
fn nibbles(bytes: &[u8], half: usize, out: &mut [u8]) {
    for (bytes, out) in bytes.chunks_exact(half).zip(out.chunks_exact_mut(2 * half)) {
        let (low, high) = out.split_at_mut(half);
        for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
}

/// A half as f32. Infinities and NaN, which no sound file holds as a scale, become large numbers; so a loop of it is plain
/// arithmetic for any vector unit.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    // The exponent of f32 is 112 larger; subnormal halves become normal by the product.
    let magnitude = f32::from_bits(u32::from(bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        for bits in 0..=u16::MAX {
            let half = half::f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(f16_to_f32(bits).to_bits(), half.to_f32().to_bits(), "{bits:#x}");
            } else {
                assert!(f16_to_f32(bits).abs() >= 65536.0);
            }
        }
    }

    /// Blocks written by hand from ggml's definitions.
    #[test]
    fn weights_of_hand_made_blocks() {
        let one = half::f16::from_f32(0.5).to_bits().to_le_bytes();
        let two = half::f16::from_f32(-3.0).to_bits().to_le_bytes();
        let weights = |format: QuantFormat, block: &[u8]| {
            let mut out = vec![f32::NAN; format.block_len()];
            assert_eq!(format.dequantize(block, &mut out), Ok(()));
            out
        };
        let nibbles: Vec<u8> = (0..16u8).map(|l| l | (15 - l) << 4).collect();
        let q4_0 = weights(QuantFormat::Q4_0, &[&one[..], &nibbles].concat());
        assert_eq!([q4_0[0], q4_0[15], q4_0[16], q4_0[31]], [-4.0, 3.5, 3.5, -4.0]);
        let q4_1 = weights(QuantFormat::Q4_1, &[&one[..], &two, &nibbles].concat());
        assert_eq!([q4_1[0], q4_1[15], q4_1[16]], [-3.0, 4.5, 4.5]);
        let high = 1u32 << 0 | 1 << 17;
        let q5_0 = weights(QuantFormat::Q5_0, &[&one[..], &high.to_le_bytes(), &nibbles].concat());
        assert_eq!([q5_0[0], q5_0[1], q5_0[16], q5_0[17]], [0.0, -7.5, -0.5, 7.0]);
        let q8_0 = weights(
            QuantFormat::Q8_0,
            &[&one[..], &(0..32u8).map(|l| l.wrapping_sub(16)).collect::<Vec<_>>()].concat(),
        );
        assert_eq!([q8_0[0], q8_0[16], q8_0[31]], [-8.0, 0.0, 7.5]);

        // Scales 1, 2, .. 8 and minima 8, 7, .. 1, all below 16, in ggml's six-bit packing; then one with upper bits.
        let mut six = [0u8; 12];
        for j in 0..4u8 {
            (six[usize::from(j)], six[usize::from(j) + 4]) = (j + 1, 8 - j);
            six[usize::from(j) + 8] = (j + 5) | (4 - j) << 4;
        }
        six[0] |= 2 << 6; // scale of group 4: 5 + 32
        let quants = [0x21u8; 128];
        let q4_k = weights(QuantFormat::Q4K, &[&one[..], &one, &six, &quants].concat());
        assert_eq!([q4_k[0], q4_k[32], q4_k[64], q4_k[128]], [0.5 - 4.0, 2.0 - 3.5, 1.5 - 3.0, 18.5 - 2.0]);
        let mut high = [0u8; 32];
        high[3] = 0b1000_0001;
        let q5_k = weights(QuantFormat::Q5K, &[&one[..], &one, &six, &high, &quants].concat());
        assert_eq!([q5_k[0], q5_k[3], q5_k[224 + 3]], [-3.5, 8.5 - 4.0, 8.0 * 0.5 * 18.0 - 0.5]);
        let mut q6 = vec![0x21u8; 128];
        q6.extend([0b11_10_01_00u8; 64]);
        q6.extend((0..16).map(|g| g as u8));
        q6.extend(one);
        let q6_k = weights(QuantFormat::Q6K, &q6);
        // Group 2 is the second quarter (bits 01), group 4 the third (10, high nibbles), group 15 the last (11).
        assert_eq!([q6_k[0], q6_k[32], q6_k[64]], [0.0, 2.0 * 0.5 * (17.0 - 32.0), 4.0 * 0.5 * (34.0 - 32.0)]);
        assert_eq!([q6_k[255], q6_k[128 + 16]], [15.0 * 0.5 * (50.0 - 32.0), 9.0 * 0.5 * (1.0 - 32.0)]);
    }
}
