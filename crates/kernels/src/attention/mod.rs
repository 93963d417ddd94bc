//! Multi-head attention over `[B, L, H, Dh]`, forward and backward, without a matrix of L × L.
//!
//! `O = softmax(scale · Q Kᵀ + mask) V` per batch row and head (Vaswani et al. 2017, arXiv 1706.03762, eq. 1). The
//! backward pass computes the probabilities again from the log-sum-exp of the forward pass (Dao et al. 2022,
//! arXiv 2205.14135, algorithm 4). The mask is a rule, not a matrix: each query names at most two ranges of keys.
//! Work is split by (batch row, head); within one, tiles of 24 queries meet all keys that any of them sees.

mod backward;
mod forward;
mod head;
mod shape;
#[cfg(test)]
mod tests;
mod visible;

pub use backward::attention_backward;
pub use forward::attention;
pub use shape::AttentionShape;
pub use visible::{VisibleKeys, all_keys};
