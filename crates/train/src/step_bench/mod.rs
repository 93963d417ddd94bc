//! The speed of a training step: one transformer trained twice in turns, by candle's own operations and by ours, and the step of a
//! recipe's model by its parts.

mod candle_network;
mod compare;
mod own_network;
mod recipe_step;
mod stream;

pub use compare::{Side, StepBench, StepBenchConfig, step_bench};
pub use recipe_step::{RecipeStep, recipe_step};
