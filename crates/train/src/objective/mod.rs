//! Training objectives, one file each.

mod autoregressive;
mod block;
mod loss;
mod masked;
mod subset;

pub use autoregressive::Autoregressive;
pub use block::Block;
pub use loss::{Loss, Objective, Rows, by_name};
pub use masked::Masked;
pub use subset::{exact_subset, stratified_count};
