//! What a training reports, and where it is written down.

mod contract;
mod jsonl;
mod tensorboard;

pub use contract::{Metrics, Tracker};
pub use jsonl::Jsonl;
pub use tensorboard::TensorBoard;
