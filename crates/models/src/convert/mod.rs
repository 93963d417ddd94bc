//! From a model folder to one with its weights in another form: quantised, packed for the kernels, or both.

mod model;
mod plan;
mod quantise;
mod report;
mod survey;
mod tensors;

pub use model::{ConvertConfig, Target, convert};
pub use report::{Fallback, Part, Report};
