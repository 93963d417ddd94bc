//! The block formats of GGUF files, as defined by ggml (ggml-common.h, ggml-quants.c).
//!
//! A row of K weights is a sequence of blocks of 32 or 256. Every format says w = s · u - c with a small unsigned integer u, a
//! scale s for each 32 (Q6_K: 16) weights, and c either s · z with a fixed offset z or a minimum of its own.

use std::fmt;

use super::file_block::FileBlock;

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
            let block = FileBlock { format: self, bytes: block };
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
