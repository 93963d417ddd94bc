//! CPU kernels of lldm: fused forward and backward passes over plain f32 slices, row major.
//!
//! Every kernel is compiled for several instruction sets and chosen at run time; the fused kernels give the same bits
//! on all of them and for any number of rayon threads. Shapes: B batch, L canvas, D width, H heads, Dh head
//! dimension, V vocabulary.

pub mod activation;
mod aligned;
pub mod attention;
#[cfg(test)]
mod check;
pub mod cross_entropy;
pub mod detect;
pub mod exp;
pub mod gated;
pub mod gemm;
pub mod moe;
pub mod norm;
pub mod peak;
pub mod quant;
pub mod rope;
mod simd;
mod tile_product;

pub use activation::{swiglu, swiglu_backward};
pub use aligned::SharedBytes;
pub use attention::{AttentionShape, VisibleKeys, all_keys, attention, attention_backward};
pub use cross_entropy::CrossEntropy;
pub use detect::CpuFeatures;
pub use exp::{exp, exp_in_place};
pub use gated::{Gate, gated};
pub use gemm::{
    Bf16Packer, Kernel, KernelError, Layout, PackedBf16, PackedError, gemm_bf16, gemm_bf16_packed, pack_bf16,
    selected_kernel,
};
pub use moe::{ExpertWeights, Experts, Routes};
pub use norm::{rms_norm, rms_norm_backward};
pub use quant::{Int8Path, PackedQuant, QuantError, QuantFormat, QuantPacker, gemm_quant, int8_path};
pub use rope::{rope_in_place, rope_inverse_in_place, rope_tables};
