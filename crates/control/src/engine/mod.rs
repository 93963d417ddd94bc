//! Constraints at work in the loop: compiled for a tokenizer, then asked for a whole valid text at each step.

mod compiled;
mod constraints;
mod round;
mod rows;
mod run;

pub use compiled::{Compiled, Figures};
pub use constraints::{Constraints, Joint};
pub use round::round;
