//! How probable a text is under a model: exact for autoregressive models, an upper bound of -log p for diffusion, and the
//! exact likelihood of one order of writing, which is neither.

mod block;
mod blocks;
mod chain;
mod enumeration;
mod estimate;
mod monte_carlo;

pub use block::{BoundConfig, block_bound};
pub use chain::{in_order, left_to_right};
pub use enumeration::{EnumerationConfig, enumerated_bound, exhaustive_bound};
pub use estimate::{Estimate, Kind};
pub use monte_carlo::{MonteCarloConfig, monte_carlo_bound};
