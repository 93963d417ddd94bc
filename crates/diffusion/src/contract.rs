//! The small contracts around the loop: logit transform, guidance, constraint, stop rule, observer.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Token};
use crate::error::Result;
use crate::frame::Frame;
use crate::prediction::{Prediction, Proposal};
use crate::rng::StepRng;
use crate::vocabulary::ClassStat;

/// What happens to logits inside the one pass over them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogitTransform {
    /// The temperature of the draw; 0 takes the most probable token.
    pub temperature: f64,
    /// Tokens with probability zero.
    pub banned: Vec<Token>,
    /// Logits to add to single tokens.
    pub bias: Vec<(Token, f32)>,
}

/// How far a constraint is guaranteed to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// Every output is accepted; each step's draw is exact with respect to that step's prediction.
    Exact,
    /// As `Exact`, for a grammar cut at this nesting depth.
    ExactBoundedDepth(u32),
    /// Every output was checked and is accepted; the draws are not exact.
    Verified,
    /// No promise.
    BestEffort,
}

/// A language over whole texts. It only removes probability.
pub trait Constraint: Send + Sync {
    /// How far the promise goes.
    fn guarantee(&self) -> Guarantee;

    /// The partition of the V tokens: a class for each.
    fn class_of(&self) -> &[u16];

    /// The number of classes.
    fn classes(&self) -> usize;

    /// Starts on an empty text of at most `budget` tokens, or says why no such text is accepted.
    fn start(&self, budget: usize) -> Result<Box<dyn ConstraintRun>>;
}

/// A constraint at work on one sequence.
pub trait ConstraintRun: Send {
    /// Draws a whole valid text for the canvas jointly, from the class statistics of its L rows. The answer holds one
    /// proposal per cell; committing any of them leaves the rest completable.
    fn draw(&mut self, canvas: &Canvas, stats: &[Vec<ClassStat>], rng: &StepRng) -> Result<Vec<Proposal>>;

    /// Takes a finished canvas.
    fn advance(&mut self, tokens: &[Token]) -> Result<()>;
}

/// A soft pull on the prediction.
pub trait Guidance: Send + Sync {
    /// The scale s; 0 is the plain conditional model and costs no second pass.
    fn scale(&self) -> f64;

    /// Joins the conditional and the unconditional prediction.
    fn guide(&self, with: &dyn Prediction, without: &dyn Prediction) -> Result<Box<dyn Prediction>>;
}

/// What a stop rule is shown after each step.
#[derive(Clone, Copy, Debug)]
pub struct StopView<'a> {
    /// The canvas after the step.
    pub canvas: &'a Canvas,
    /// Steps taken on this canvas.
    pub steps: usize,
}

/// What a stop rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    Continue,
    /// The text is finished; it is the first `usize` cells of this canvas.
    Text(usize),
}

/// Decides when a sequence is finished early. Pure over what it is shown.
pub trait StopRule: Send + Sync {
    /// Called after each step.
    fn after_step(&self, view: StopView<'_>) -> Stop;
}

/// Watches the denoising. It may slow, never change, the result.
pub trait Observer {
    /// Called with the first noisy canvas, after each step, and at the end of each canvas.
    fn frame(&mut self, frame: &Frame);
}

impl Default for LogitTransform {
    fn default() -> Self {
        Self { temperature: 1.0, banned: Vec::new(), bias: Vec::new() }
    }
}

impl<F: FnMut(&Frame)> Observer for F {
    fn frame(&mut self, frame: &Frame) {
        self(frame);
    }
}
