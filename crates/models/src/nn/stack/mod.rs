//! A stack of layers as one op with a reverse pass of its own: what training in bf16 runs on.

mod joined;
mod layer;
mod op;

pub use op::decode;
