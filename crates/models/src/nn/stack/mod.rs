//! A stack of layers as one op with a reverse pass of its own: what training in bf16 runs on.

mod attention_half;
mod feed_forward_half;
mod joined;
mod layer;
mod op;
mod setting;
mod through_norm;

pub use op::decode;
