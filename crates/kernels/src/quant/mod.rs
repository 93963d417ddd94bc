//! Products with quantised weights, computed on the blocks of GGUF files: unpacked to int8 next to the units, never as a whole.

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod chunk;
mod file_block;
mod format;
mod packed;
mod panel;
mod portable;
mod product;
mod random;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(any(test, target_arch = "x86_64"))]
mod tiles;

pub use crate::aligned::SharedBytes;
pub use block::Int8Path;
pub use format::{QuantError, QuantFormat};
pub use packed::{PackedQuant, QuantPacker};
pub use product::{gemm_grouped, gemm_quant, int8_path};
#[cfg(test)]
pub(crate) use product::{grouped_with, product_with};
pub use random::random_blocks;
