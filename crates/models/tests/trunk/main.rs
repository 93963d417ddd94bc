//! The trunk behind its denoiser: whatever is cached, batched or trained in one pass, the answers are those of one plain
//! forward pass over everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch;
mod cached;
mod guided;
mod noised;
mod support;
mod time;
mod training;
