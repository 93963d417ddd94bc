//! Forward processes: how clean text becomes noise.

mod block;
mod forward;
mod masked;

pub use block::Block;
pub use forward::Noise;
pub use masked::Masked;
