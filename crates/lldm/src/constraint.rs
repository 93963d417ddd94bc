//! What constraints need of a model: the bytes of its tokens, and what stands between a prompt and its text.

use std::sync::Arc;

use lldm_control::{Compiled, Joint, Vocabulary};
use lldm_diffusion::{Constraint, Token};

use crate::error::Result;
use crate::output::UsedConstraint;
use crate::pipeline::Pipeline;

/// A tokenizer as constraints read it.
pub(crate) struct Spelled {
    pub(crate) vocabulary: Vocabulary,
    bytes: Vec<Option<Vec<u8>>>,
    /// Whether the first token of a text is written without the space that it begins with.
    pub(crate) first_without_space: bool,
}

impl Spelled {
    /// The bytes of a token; none for a special one.
    pub(crate) fn bytes(&self, token: Token) -> &[u8] {
        self.bytes.get(token as usize).and_then(Option::as_deref).unwrap_or_default()
    }

    /// The vocabulary without tokens that are never written: what can be spelled, and how shortly, depends on it.
    pub(crate) fn without(&self, banned: &[Token], end: &[Token]) -> Vocabulary {
        let mut bytes = self.bytes.clone();
        for token in banned {
            if let Some(bytes) = bytes.get_mut(*token as usize) {
                *bytes = None;
            }
        }
        Vocabulary::new(&bytes, end)
    }

    /// What stands between a prompt and its text.
    pub(crate) fn joint(&self, prompt: &str) -> Joint {
        match self.first_without_space {
            true => Joint::Space,
            false if prompt.is_empty() || prompt.ends_with(char::is_whitespace) => Joint::None,
            false => Joint::Optional,
        }
    }
}

impl Pipeline {
    /// What constraints know of the tokenizer.
    pub(crate) fn spelled(&self) -> Result<&Arc<Spelled>> {
        if let Some(spelled) = self.spelled.get() {
            return Ok(spelled);
        }
        let info = self.model.denoiser.info();
        let mut found = self.model.tokenizer.token_bytes()?;
        // A model may have more outputs than its tokenizer has tokens: nothing is written by the others.
        found.bytes.resize(info.vocabulary, None);
        let vocabulary = Vocabulary::new(&found.bytes, &info.end);
        let spelled = Spelled { vocabulary, bytes: found.bytes, first_without_space: found.first_without_space };
        Ok(self.spelled.get_or_init(|| Arc::new(spelled)))
    }
}

/// What is told of a constraint.
pub(crate) fn used(constraint: &Compiled) -> UsedConstraint {
    let figures = constraint.figures();
    UsedConstraint {
        guarantee: constraint.guarantee(),
        byte_states: figures.byte_states,
        states: figures.states,
        classes: figures.classes,
    }
}
