//! Optimizers and learning-rate schedules.

mod adamw;
mod muon;
mod rate;
mod update;

pub use adamw::AdamW;
pub use muon::{Muon, orthogonalise};
pub use rate::{Decay, LearningRate};
pub use update::{Optimizer, OptimizerConfig, clip_factor};
