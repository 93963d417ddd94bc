//! The block formats of GGUF files, and their values as defined by ggml (ggml-common.h, ggml-quants.c).
//!
//! A row of K weights is a sequence of blocks of 32 or 256. Every format says w = s · u - c with a small unsigned integer u, a
//! scale s for each 32 (Q6_K: 16) weights, and c either s · z with a fixed offset z or a minimum of its own.

use std::fmt;

/// A format of quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantFormat {
    /// 4 bits, one f16 scale for 32 weights: w = d (u - 8).
    Q4_0,
    /// 4 bits, a scale and a minimum in f16 for 32 weights: w = d u + m.
    Q4_1,
    /// 5 bits, one f16 scale for 32 weights: w = d (u - 16).
    Q5_0,
    /// 8 bits, one f16 scale for 32 weights: w = d q.
    Q8_0,
    /// 4 bits, blocks of 256; scales and minima of 6 bits for 32 weights: w = d sc u - dmin m.
    Q4K,
    /// As `Q4K` with 5 bits.
    Q5K,
    /// 6 bits, blocks of 256; scales of 8 bits for 16 weights: w = d sc (u - 32).
    Q6K,
}

/// What is wrong with a quantised matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuantError {
    /// K is no multiple of the format's block.
    Columns {
        /// The format.
        format: QuantFormat,
        /// K as asked for.
        columns: usize,
    },
    /// The bytes are not those of the matrix.
    Bytes {
        /// The format.
        format: QuantFormat,
        /// The matrix, rows and columns.
        shape: [usize; 2],
        /// Bytes that it takes; `None` where that is more than memory can hold.
        expected: Option<usize>,
        /// Bytes given.
        found: usize,
    },
}

/// How a format is computed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Weights under one scale: 32 or 16.
    pub(crate) group: usize,
    /// z of w = s (u - z); `None` where each 32 weights have a minimum.
    pub(crate) offset: Option<i32>,
    /// Bits of u that lie in the low plane: 8 or 4.
    pub(crate) low_bits: usize,
    /// Bits of u that lie in the high plane: 0, 1 or 2.
    pub(crate) high_bits: usize,
}

impl QuantFormat {
    /// All formats.
    pub const ALL: [Self; 7] = [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q8_0, Self::Q4K, Self::Q5K, Self::Q6K];

    /// The name as ggml spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    /// Weights of a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 2 + 16,
            Self::Q4_1 => 4 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q4K => 4 + 12 + 128,
            Self::Q5K => 4 + 12 + 32 + 128,
            Self::Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// Bytes of a matrix of `rows` rows of `columns` weights, if its rows are whole blocks and the number is one.
    pub fn matrix_bytes(self, rows: usize, columns: usize) -> Option<usize> {
        let blocks = columns.is_multiple_of(self.block_len()).then(|| columns / self.block_len())?;
        rows.checked_mul(blocks)?.checked_mul(self.block_bytes())
    }

    /// The weights of whole blocks, as ggml's `dequantize_row` gives them; `out` holds as many values as `blocks` do.
    ///
    /// # Errors
    /// If the lengths do not fit one another.
    pub fn dequantize(self, blocks: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
        self.check([1, out.len()], blocks.len())?;
        let shape = self.shape();
        for (block, out) in blocks.chunks_exact(self.block_bytes()).zip(out.chunks_exact_mut(self.block_len())) {
            let block = Block { format: self, bytes: block };
            let mut integers = [0u8; 256];
            block.integers(&mut integers[..out.len()]);
            for (k, (out, u)) in out.iter_mut().zip(integers).enumerate() {
                let u = f32::from(u);
                let scale = block.scale(k / shape.group);
                *out = match shape.offset {
                    Some(offset) => scale * (u - offset as f32),
                    None => scale * u - block.minimum(k / 32),
                };
            }
        }
        Ok(())
    }

    /// Fails unless rows are whole blocks.
    pub(crate) fn check_columns(self, columns: usize) -> Result<(), QuantError> {
        if columns.is_multiple_of(self.block_len()) {
            return Ok(());
        }
        Err(QuantError::Columns { format: self, columns })
    }

    pub(crate) fn check(self, [rows, columns]: [usize; 2], found: usize) -> Result<(), QuantError> {
        self.check_columns(columns)?;
        let expected = self.matrix_bytes(rows, columns);
        if expected == Some(found) {
            return Ok(());
        }
        Err(QuantError::Bytes { format: self, shape: [rows, columns], expected, found })
    }

    pub(crate) fn shape(self) -> Shape {
        let (group, offset, low_bits, high_bits) = match self {
            Self::Q4_0 => (32, Some(8), 4, 0),
            Self::Q4_1 | Self::Q4K => (32, None, 4, 0),
            Self::Q5_0 => (32, Some(16), 4, 1),
            Self::Q8_0 => (32, Some(128), 8, 0),
            Self::Q5K => (32, None, 4, 1),
            Self::Q6K => (16, Some(32), 4, 2),
        };
        Shape { group, offset, low_bits, high_bits }
    }
}

/// One block as it lies in the file.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) format: QuantFormat,
    pub(crate) bytes: &'a [u8],
}

impl Block<'_> {
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

impl fmt::Display for QuantFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for QuantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns { format, columns } => {
                write!(
                    f,
                    "rows of {columns} weights are not whole blocks of {}, which {format} needs",
                    format.block_len()
                )
            }
            Self::Bytes { format, shape: [rows, columns], expected, found } => {
                write!(f, "a matrix [{rows}, {columns}] in {format} takes ")?;
                match expected {
                    Some(expected) => write!(f, "{expected} bytes, but there are {found}"),
                    None => write!(f, "more bytes than memory can hold, but there are {found}"),
                }
            }
        }
    }
}

impl std::error::Error for QuantError {}

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

    #[test]
    fn what_does_not_fit_is_said() {
        let error = QuantFormat::Q4K.check([3, 100], 5).unwrap_err();
        assert_eq!(error.to_string(), "rows of 100 weights are not whole blocks of 256, which q4_k needs");
        let error = QuantFormat::Q8_0.dequantize(&[0; 33], &mut [0.0; 32]).unwrap_err();
        assert_eq!(error.to_string(), "a matrix [1, 32] in q8_0 takes 34 bytes, but there are 33");
        assert!(
            QuantFormat::Q8_0.check([usize::MAX, 64], 0).unwrap_err().to_string().contains("more bytes than memory")
        );
    }
}
