//! Training of text diffusion models: data, objectives, optimizers, the trainer and its checkpoints.

pub mod checkpoint;
pub mod data;
pub mod dataset;
pub mod ema;
pub mod error;
pub mod measure;
pub mod objective;
pub mod optimizer;
pub mod parameters;
pub mod recipe;
pub mod step_bench;
pub mod tracker;
pub mod trainer;

pub use error::{Error, Result};
pub use recipe::Recipe;
pub use trainer::{Outcome, Trainer};
