//! The small contracts around the loop: logit transform, guidance, constraint, stop rule, observer.

use serde::{Deserialize, Serialize};

use crate::canvas::{Canvas, Token};
use crate::error::{Error, Result};
use crate::fork::ForkConstraint;
use crate::frame::Frame;
use crate::prediction::{Prediction, Proposal};
use crate::rng::{Purpose, StepRng};
use crate::vocabulary::ClassStat;

/// What happens to logits inside the one pass over them, in this order: repetition penalty, bias, bans, temperature,
/// top-k, top-p.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogitTransform {
    /// The temperature of the draw; 0 takes the most probable token.
    pub temperature: f64,
    /// The k most probable tokens are kept; 0 keeps all.
    pub top_k: usize,
    /// The smallest set of most probable tokens that holds this probability is kept; 1 keeps all. It is measured over the
    /// tokens that top-k left.
    pub top_p: f64,
    /// The logits of tokens that stand in the text already are divided by this where positive and multiplied where
    /// negative (CTRL, Keskar et al. 2019, section 4.1); 1 does nothing.
    pub repetition_penalty: f64,
    /// Tokens with probability zero.
    pub banned: Vec<Token>,
    /// Logits to add to single tokens.
    pub bias: Vec<(Token, f32)>,
    /// The tokens that the repetition penalty falls on. The loop fills in what stands in the text.
    #[serde(skip)]
    pub seen: Vec<Token>,
    /// What the statistics of a proposal are those of. The sampler says it.
    #[serde(skip)]
    pub statistics: Statistics,
    /// Whether top-p drops the token with which it reaches p, as the reference of the sampler does. The loop says it.
    #[serde(skip)]
    pub compat: Compat,
}

/// What the statistics of a proposal (probability, entropy, margin, the held token's probability) are those of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statistics {
    /// The distribution at temperature 1, without top-k and top-p: LLaDA takes its confidence from the plain logits.
    #[default]
    Plain,
    /// The distribution that the token is drawn from. At temperature 0, where that is a single token, the distribution at
    /// temperature 1 after top-k and top-p (Dream, SDAR).
    Transformed,
}

/// Whether a method does what is right, or what its reference implementation does. `docs/compat.md` lists the differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// What the paper means.
    #[default]
    Exact,
    /// What the reference does, defects included.
    Reference,
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

/// What a constraint is shown at a step.
#[derive(Clone, Copy, Debug)]
pub struct ConstraintView<'a> {
    /// The canvas before the step.
    pub canvas: &'a Canvas,
    /// Cells that are given behind the canvas: how far behind its last cell (0 for the next one), and the token.
    pub given: &'a [(usize, Token)],
    /// Class statistics of the L rows; none for cells that are given or written for good.
    pub stats: &'a [Vec<ClassStat>],
    /// What else is known of the L cells.
    pub leans: &'a [Option<Lean>],
    /// Tokens that no cell may hold, whatever the prediction says of them.
    pub banned: &'a [Token],
    /// The first cell that may hold an end token: no given cell stands behind it.
    pub ends_from: usize,
    /// Whether the most probable text is wanted, not a draw.
    pub greedy: bool,
    /// The step's randomness.
    pub rng: &'a StepRng,
    /// What the draw is for.
    pub purpose: Purpose,
}

/// A token that has more weight in its cell than the prediction gives to it.
///
/// Under noise that nothing marks, the token held tells of the clean one: given the clean text x, it has the likelihood
/// q(held | x), so that p(x) q(held | x) is what an exact draw must follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lean {
    /// The token.
    pub token: Token,
    /// ln of its probability, as in the class statistics.
    pub log_p: f64,
    /// ln of what is added to that; the sum over the row is 1 before, and more after.
    pub log_extra: f64,
}

/// A constraint at work on one sequence. It is `Clone`.
pub trait ConstraintRun: Send + ForkConstraint {
    /// Draws a whole valid text for the canvas jointly. The answer holds one proposal per cell, with the statistics of the cell given
    /// that the text is valid (`best` is the most probable token of the cell by itself); committing any of the tokens drawn leaves
    /// the rest completable. What is said of given and written cells is not read.
    fn draw(&mut self, view: &ConstraintView<'_>) -> Result<Vec<Proposal>>;

    /// ln of the probability that the prediction of the last draw gave to valid texts (ln Z), where it is known.
    fn log_z(&self) -> Option<f64> {
        None
    }

    /// Takes a finished canvas.
    fn advance(&mut self, tokens: &[Token]) -> Result<()>;
}

/// A soft pull on the prediction.
pub trait Guidance: Send + Sync {
    /// The scale s; 0 is the plain conditional model and costs no second pass.
    fn scale(&self) -> f64;

    /// Joins the conditional and the unconditional prediction.
    fn guide(&self, with: &dyn Prediction, without: &dyn Prediction) -> Result<Box<dyn Prediction>>;

    /// Whether a step that draws each cell from the reverse posterior of noise that nothing marks is to mix the two posteriors
    /// instead, at [`Guidance::scale`]. Every other step joins the predictions.
    fn mixes_posteriors(&self) -> bool {
        false
    }
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
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            banned: Vec::new(),
            bias: Vec::new(),
            seen: Vec::new(),
            statistics: Statistics::Plain,
            compat: Compat::Exact,
        }
    }
}

impl LogitTransform {
    /// Says which setting cannot be used, if one cannot.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Error::setting("temperature", self.temperature, "it must be a finite number of at least 0"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::setting("top_p", self.top_p, "it must lie above 0 and be at most 1"));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let expected = "it must be a finite number above 0";
            return Err(Error::setting("repetition_penalty", self.repetition_penalty, expected));
        }
        Ok(())
    }
}

impl<F: FnMut(&Frame)> Observer for F {
    fn frame(&mut self, frame: &Frame) {
        self(frame);
    }
}
