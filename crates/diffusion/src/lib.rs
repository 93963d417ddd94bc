//! The maths of text diffusion: what a canvas is, how it is noised, and how it is denoised step by step.
//!
//! Pure Rust without tensors or I/O. A network enters through [`Denoiser`]; what it answers is a [`Prediction`], which
//! is reduced to one [`Proposal`] per cell before a [`Sampler`] sees it. [`generate()`] is the loop that joins them.
//!
//! Shapes: B sequences, L canvas cells, P prefix tokens, V vocabulary entries, D width.

mod bans;
mod batch;
pub mod canvas;
mod constrained;
pub mod contract;
pub mod denoiser;
pub mod error;
pub mod fork;
pub mod frame;
pub mod generate;
mod guided;
pub mod noise;
mod open;
pub mod particles;
pub mod prediction;
mod proposals;
mod ratio;
pub mod registry;
mod resample;
pub mod rng;
mod run;
pub mod sampler;
pub mod schedule;
pub mod stop;
pub mod toy;
pub mod vocabulary;

pub use canvas::{Canvas, Cell, Token};
pub use contract::{
    Compat, Constraint, ConstraintRun, ConstraintView, Guarantee, Guidance, Lean, LogitTransform, Observer, Statistics,
    StopRule,
};
pub use denoiser::{Condition, Context, Denoiser, DenoiserInfo, State, StepInput};
pub use error::{Error, Result};
pub use frame::{Frame, FrameCell};
pub use generate::{EndRule, FinishReason, GenerateConfig, Generation, Parts, Sequence, Usage, generate};
pub use noise::Noise;
pub use particles::{ParticleConfig, ParticleView, Population, Potential, generate_particles};
pub use prediction::{Logits, PosteriorMix, Prediction, Proposal};
pub use rng::{Rng, StepRng};
pub use sampler::Sampler;
pub use schedule::Schedule;
