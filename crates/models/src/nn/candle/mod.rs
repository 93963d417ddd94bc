//! Layers by candle's own operations, on any of its devices: the fallbacks of our custom ops.

pub(super) mod attention;
mod backend;
pub(super) mod ops;
mod weight;

pub use backend::{Backend, CandleBackend};
pub(in crate::nn) use weight::CandleWeight;
pub use weight::{Blocks, candle_matrix, ggml_type};
