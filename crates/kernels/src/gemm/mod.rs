//! Matrix products: bf16 inputs with f32 sums, for training and inference; int8 inputs with int32 sums.
//!
//! Both factors are f32 in memory, rounded to bf16 (to nearest even) while they are packed; every value of the result
//! is one sum over k in a fixed order, which depends neither on the other rows and columns nor on the threads.

#[cfg(any(test, target_arch = "x86_64"))]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_pack;
mod grid;
mod int8;
mod layout;
mod packed;
mod portable;
mod product;
mod row_tiles;
mod select;
#[cfg(test)]
mod tests;

pub(crate) use grid::Output;
pub use int8::{PackedInt8, gemm_int8, pack_int8};
pub use layout::Layout;
pub use packed::{Bf16Packer, PackedBf16, PackedError, pack_bf16};
pub(crate) use product::kernel;
pub use product::{bf16_path, gemm_bf16, gemm_bf16_add, gemm_bf16_packed};
pub(crate) use row_tiles::RowTiles;
pub use select::{Bf16Path, Kernel, KernelError, selected_kernel};
#[cfg(test)]
pub(crate) use {packed::pack_with, product::product_with};
