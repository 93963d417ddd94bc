//! CPU kernels of lldm: products with bf16 and quantised weights, experts, attention, the pass over the vocabulary, and fused
//! forward and backward passes, all over plain slices, row major.
//!
//! Every kernel is compiled for several instruction sets and chosen at run time; the fused kernels give the same bits
//! on all of them and for any number of rayon threads. Shapes: B batch, L canvas, D width, H heads, Dh head
//! dimension, V vocabulary.
// Tests may compare with the system's functions.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod activation;
pub mod adamw;
mod aligned;
pub mod attention;
#[cfg(test)]
mod check;
pub mod cross_entropy;
pub mod detect;
pub mod exp;
pub mod gated;
pub mod gelu;
pub mod gemm;
#[cfg(test)]
mod interpreted;
pub mod moe;
pub mod norm;
pub mod peak;
pub mod quant;
#[cfg(test)]
mod recorded;
pub mod rope;
mod route;
#[cfg(test)]
mod row_property;
mod scalar;
mod simd;
pub mod split_heads;
pub mod table;
#[cfg(target_arch = "x86_64")]
mod tile_permission;
mod tile_product;
pub mod vector;
pub mod vocab;

pub use activation::{swiglu, swiglu_backward, swiglu_joined, swiglu_joined_backward};
pub use adamw::AdamWStep;
pub use aligned::SharedBytes;
pub use attention::{AttentionShape, KeyValues, VisibleKeys, all_keys, attention, attention_backward};
pub use cross_entropy::{CrossEntropy, cross_entropy_in_place};
pub use detect::CpuFeatures;
pub use exp::{exp, exp_in_place};
pub use gated::{Gate, gated};
pub use gelu::{Gelu, gelu, gelu_backward};
pub use gemm::{
    Bf16Packer, Bf16Path, Kernel, KernelError, Layout, PackedBf16, PackedError, PackedInt8, bf16_path, gemm_bf16,
    gemm_bf16_packed, gemm_int8, pack_bf16, pack_int8, selected_kernel,
};
pub use moe::{ExpertWeights, Experts, Routes};
pub use norm::{add_rms_norm, rms_norm, rms_norm_backward, rms_norm_backward_add};
pub use quant::{Int8Path, PackedQuant, QuantError, QuantFormat, QuantPacker, gemm_quant, int8_path};
pub use rope::{rope_in_place, rope_inverse_in_place, rope_tables};
pub use route::route;
pub use simd::simd_level;
pub use split_heads::{Rotation, SplitHeads};
pub use table::{gather_add_rows, gather_rows, scatter_add_rows};
