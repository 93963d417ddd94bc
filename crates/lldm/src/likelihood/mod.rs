//! How probable a text is under a model: exact for autoregressive models, an upper bound of -log p for diffusion.

mod block;
mod estimate;
mod exhaustive;

pub use block::{BoundConfig, block_bound};
pub use estimate::{Estimate, Kind};
pub use exhaustive::exhaustive_bound;
