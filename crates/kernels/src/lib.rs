//! CPU kernels of lldm: fused forward and backward passes over plain f32 slices, row major.
//!
//! Every kernel is compiled for several instruction sets and chosen at run time; the fused kernels give the same bits
//! on all of them and for any number of rayon threads. Shapes: B batch, L canvas, D width, H heads, Dh head
//! dimension, V vocabulary.

pub mod activation;
pub mod attention;
#[cfg(test)]
mod check;
pub mod cross_entropy;
pub mod detect;
pub mod exp;
pub mod gemm;
pub mod norm;
pub mod peak;
pub mod rope;
mod simd;
#[cfg(target_arch = "x86_64")]
mod tile_permission;
mod tile_product;

pub use activation::{swiglu, swiglu_backward};
pub use attention::{AttentionShape, VisibleKeys, all_keys, attention, attention_backward};
pub use cross_entropy::CrossEntropy;
pub use detect::CpuFeatures;
pub use exp::{exp, exp_in_place};
pub use gemm::{Kernel, KernelError, Layout, PackedBf16, gemm_bf16, gemm_bf16_packed, pack_bf16, selected_kernel};
pub use norm::{rms_norm, rms_norm_backward};
pub use rope::{rope_in_place, rope_inverse_in_place, rope_tables};
