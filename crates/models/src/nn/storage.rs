//! How the weights of layers are stored.

use std::fmt;

use lldm_kernels::QuantFormat;

/// How a weight is stored and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    /// f32, products in f32.
    F32,
    /// f32, rounded to bf16 in each product: for training.
    Bf16,
    /// bf16 in the order of the kernel.
    PackedBf16,
    /// Blocks of a GGUF format in the order of the kernels.
    Quant(QuantFormat),
    /// bf16 on a device of candle's.
    CandleBf16,
    /// Blocks of a GGUF format on a device of candle's.
    CandleQuant(QuantFormat),
}

impl fmt::Display for StorageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::Bf16 => f.write_str("f32, rounded to bf16"),
            Self::PackedBf16 | Self::CandleBf16 => f.write_str("bf16"),
            Self::Quant(format) | Self::CandleQuant(format) => format.fmt(f),
        }
    }
}
