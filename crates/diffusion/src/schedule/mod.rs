//! Noise schedules: how much of the text survives at time t.

mod alpha;
mod cosine;
mod geometric;
mod linear;
mod log_linear;
mod sqrt;

pub use alpha::{NAMES, Schedule, by_name, or_linear};
pub use cosine::Cosine;
pub use geometric::Geometric;
pub use linear::Linear;
pub use log_linear::LogLinear;
pub use sqrt::Sqrt;
