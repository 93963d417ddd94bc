//! What a text is asked for with.

use lldm_control::Joint;
use lldm_diffusion::Token;

/// A prompt: text or tokens before the canvas, and cells given inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    pub(crate) prefix: Prefix,
    pub(crate) pins: Vec<(usize, Token)>,
    pub(crate) seed: Option<u64>,
    pub(crate) within_word: bool,
    /// What stands between the prompt and a text under a constraint, where it is not that of the prompt's text.
    pub(crate) joint: Option<Joint>,
}

/// The prefix, before or after tokenization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    Text(String),
    Tokens(Vec<Token>),
}

impl Default for Prefix {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Prompt {
    /// A text that the model continues.
    pub fn text(text: impl Into<String>) -> Self {
        Self { prefix: Prefix::Text(text.into()), ..Self::default() }
    }

    /// Tokens that the model continues.
    pub fn tokens(tokens: impl Into<Vec<Token>>) -> Self {
        Self { prefix: Prefix::Tokens(tokens.into()), ..Self::default() }
    }

    /// Gives the cell at `position` (counted from the end of the prefix) a token that is kept.
    #[must_use]
    pub fn pin(mut self, position: usize, token: Token) -> Self {
        self.pins.push((position, token));
        self
    }

    pub(crate) fn joint(mut self, joint: Joint) -> Self {
        self.joint = Some(joint);
        self
    }

    /// Gives the text a seed of its own: among others, it is what it would be alone under this seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Lets the text go on within the word that a text prompt ends with; otherwise a new word, a mark or a space follows.
    #[must_use]
    pub fn within_word(mut self) -> Self {
        self.within_word = true;
        self
    }
}
