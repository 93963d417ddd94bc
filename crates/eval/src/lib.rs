//! Evaluation: how good a model's texts are, how useful its answers, and a card that says so.
//!
//! This crate knows models and judges, not training data: whoever composes an evaluation hands in the texts.

pub mod card;
pub mod error;
pub mod extraction;
pub mod fluency;
mod median;
pub mod plot;
pub mod report;
pub mod samples;
pub mod tradeoff;

pub use error::{Error, Result};
pub use median::median;
pub use report::{DomainReport, Report};
