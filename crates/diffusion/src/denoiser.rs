//! The contract of a network: it predicts the clean text from a noisy canvas.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::canvas::Token;
use crate::error::{Error, Result};
use crate::prediction::Prediction;

/// What the loop must know about a denoiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenoiserInfo {
    /// The size of the vocabulary V, the mask token included.
    pub vocabulary: usize,
    /// The mask token, where the family has one.
    pub mask: Option<Token>,
    /// Tokens that end a text.
    pub end: Vec<Token>,
    /// The largest P + L.
    pub max_length: usize,
    /// The canvas length that the family insists on, if any.
    pub canvas_length: Option<usize>,
    /// The grid on which canvases end, counted from the start of the context (block-causal families).
    pub canvas_grid: Option<usize>,
    /// Whether the answer depends on t. Where it does not, an unchanged canvas needs no second call.
    pub time_dependent: bool,
    /// Whether the answer depends on the previous prediction (self-conditioning).
    pub self_conditioned: bool,
    /// Whether the answer for a cell already weighs the token that it holds, as p(x_0 | x_t) does (models trained by plain
    /// cross-entropy), or leaves that to the posterior (models trained by the bound). Under masked noise it makes no
    /// difference.
    pub weighs_held: bool,
}

/// The noisy state of the L cells.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    /// L tokens, noise included.
    Tokens(&'a [Token]),
    /// L vectors of width D, row-major.
    Vectors(&'a [f32], usize),
}

/// Whether the prefix conditions the answer; classifier-free guidance asks for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Condition {
    /// The prefix is seen.
    #[default]
    Given,
    /// The prefix is hidden, as the family hides it.
    Hidden,
}

/// What a denoiser is given at one step.
#[derive(Clone, Copy)]
pub struct StepInput<'a> {
    /// The noisy canvas.
    pub state: State<'a>,
    /// The time t in [0, 1]; 1 is pure noise.
    pub time: f64,
    /// The sampling temperature of the step (families that feed their own soft answer back need it).
    pub temperature: f64,
    /// The answer to the previous step, for self-conditioning.
    pub previous: Option<&'a dyn Prediction>,
    /// Whether the prefix is seen.
    pub condition: Condition,
}

/// The P clean tokens before the canvas, and whatever the family keeps about them.
pub struct Context {
    /// The clean tokens.
    pub tokens: Vec<Token>,
    /// The family's own state, such as cached keys and values.
    pub cache: Option<Box<dyn Any + Send>>,
    /// Forward passes spent on the context (prefill and cache stores); not part of the NFE.
    pub passes: usize,
}

/// A network that predicts the clean text.
///
/// Deterministic in all of its inputs. The answer for one canvas depends neither on other canvases in a call nor on the
/// number of threads. Shifts of the logits, conventions about sigma and score transforms are hidden behind it.
pub trait Denoiser: Send + Sync {
    /// What the loop must know.
    fn info(&self) -> &DenoiserInfo;

    /// Reads the P tokens before the canvas.
    fn prefill(&self, prefix: &[Token]) -> Result<Context>;

    /// Adds a finished canvas to the context.
    fn extend(&self, context: &mut Context, tokens: &[Token]) -> Result<()>;

    /// Predicts the L clean tokens of one canvas: one function evaluation.
    fn denoise(&self, input: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>>;

    /// Predicts for several canvases; each answer equals that of [`Denoiser::denoise`] bit for bit.
    fn denoise_batch(
        &self,
        inputs: &[StepInput<'_>],
        contexts: &mut [&mut Context],
    ) -> Result<Vec<Box<dyn Prediction>>> {
        inputs.iter().zip(contexts.iter_mut()).map(|(input, context)| self.denoise(input, context)).collect()
    }
}

impl Context {
    /// A context without any cache.
    pub fn plain(tokens: &[Token]) -> Self {
        Self { tokens: tokens.to_vec(), cache: None, passes: 0 }
    }
}

impl<'a> State<'a> {
    /// The tokens, or an error that names the denoiser's need.
    pub fn tokens(&self) -> Result<&'a [Token]> {
        match self {
            Self::Tokens(tokens) => Ok(tokens),
            Self::Vectors(..) => Err(Error::Denoiser { message: "works on tokens, but was given vectors".to_string() }),
        }
    }
}
