//! Multi-head attention over `[B, L, H, Dh]`, forward and backward, without a matrix of L × L.
//!
//! `O = softmax(scale · Q Kᵀ + mask) V` per batch row and head (Vaswani et al. 2017, arXiv 1706.03762, eq. 1). The
//! backward pass computes the probabilities again from the log-sum-exp of the forward pass (Dao et al. 2022,
//! arXiv 2205.14135, algorithm 4). The mask is a rule, not a matrix: each query names at most two ranges of keys.
//! Key heads may be fewer than query heads (Ainslie et al. 2023, arXiv 2305.13245), and keys may come in segments, such as a
//! cached prefix and a canvas.
//!
//! Work is split by (batch row, key head), and further where threads would go without. Within a task blocks of keys, packed
//! once, meet tiles of rows, a row being a query with one head of the group; scores are kept one key per line, so that the
//! softmax needs no sums across lanes. Between blocks a row's sums are rescaled (Milakov and Gimelshein 2018,
//! arXiv 1805.02867). Where a block ends depends on Dh and on the place among all keys alone, so that a row gives the same
//! bits whatever its neighbours, the split and the segments.

mod backward;
mod block;
mod forward;
mod parts;
mod scratch;
mod shape;
mod softmax;
#[cfg(test)]
mod tests;
mod visible;

pub use backward::attention_backward;
pub use forward::attention;
pub use shape::{AttentionShape, KeyValues};
pub use visible::{VisibleKeys, all_keys};
