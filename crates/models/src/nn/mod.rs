//! Layers: what a family's file is made of.

mod attention;
mod cross_entropy;
mod decoder_block;
mod embedding;
mod kv_cache;
mod linear;
mod mlp;
mod norm;
mod rope;
mod slices;
mod storage;
mod weights;

pub use attention::{Visibility, attend};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use decoder_block::{DecoderBlock, DecoderBlockConfig};
pub use embedding::Embedding;
pub use kv_cache::{KvCache, LayerCache};
pub use linear::Linear;
pub use mlp::SwiGlu;
pub use norm::RmsNorm;
pub use rope::Rope;
pub use storage::StorageKind;
pub(crate) use weights::none_left;
pub use weights::{Init, Loaded, Precision, Weights};
