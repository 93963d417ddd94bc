//! A stack of layers as one op with a reverse pass of its own: what training in bf16 runs on.

mod forward;
mod joined;
mod op;
mod reverse;
mod setting;

pub use op::decode;
