//! The product of int8 matrices with int32 sums: exact, on every path.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod packed;
mod portable;
mod product;
#[cfg(test)]
mod tests;

pub use packed::{PackedInt8, pack_int8};
pub use product::gemm_int8;
