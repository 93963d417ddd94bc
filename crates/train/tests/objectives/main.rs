//! The objectives on a tiny trunk, held against enumeration, against the likelihoods of the facade, and against finite
//! differences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autoregressive;
mod block;
mod bounds;
mod denoising;
mod fitting;
mod gradients;
mod masked;
mod noised;
mod support;
