//! Sixteen f32 lanes on every CPU, and the choice of instruction set at run time.
//!
//! A kernel is written once, generic over [`Simd`], and compiled for AVX-512, AVX2 + FMA and plain code. Sixteen
//! lanes, fused multiply-adds and one order of every sum hold on all of them, so they give the same bits.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dispatch;
mod lanes;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
#[cfg(test)]
pub(crate) use dispatch::at_each_level;
pub(crate) use dispatch::dispatch;
#[cfg(target_arch = "x86_64")]
pub(crate) use dispatch::{Level, level};
pub use dispatch::{f32_instruction, simd_level};
pub(crate) use lanes::{LANES, Simd};
pub(crate) use portable::Portable;
