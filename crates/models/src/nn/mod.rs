//! Layers: what a family's file is made of.

mod attention;
mod buffer;
mod cross_entropy;
mod decoder_block;
mod embedding;
mod gelu_mlp;
mod gradients;
mod kv_cache;
mod linear;
mod mlp;
mod norm;
mod rope;
mod rows;
mod scored;
mod slices;
mod stack;
mod weight_gradient;
mod weights;

pub use attention::{Visibility, attend};
pub use buffer::{Buffer, release_buffers};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use decoder_block::{DecoderBlock, DecoderBlockConfig, FeedForward, FeedForwardKind};
pub use embedding::Embedding;
pub use gelu_mlp::{GeluMlp, gelu};
pub use gradients::{Gradients, backward};
pub use kv_cache::{KvCache, LayerCache};
pub use linear::Linear;
pub use mlp::SwiGlu;
pub use norm::RmsNorm;
pub use rope::Rope;
pub use rows::{add_rows, select_rows};
pub use slices::{change_values, with_values};
pub use stack::decode;
pub use weights::{Init, Loaded, Precision, Weights};
