//! Text to tokens and back, through the field's `tokenizer.json`.

use std::collections::HashSet;

use lldm_diffusion::Token;

use crate::error::{Error, Result};

/// A tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: HashSet<Token>,
}

impl Tokenizer {
    /// Reads a tokenizer.json; `file` names it in errors.
    pub fn from_bytes(bytes: &[u8], file: &str) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|error| Error::format(file, format!("not a tokenizer.json ({error})")))?;
        Ok(Self::new(inner))
    }

    /// Wraps a tokenizer.
    pub fn new(inner: tokenizers::Tokenizer) -> Self {
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        Self { inner, special }
    }

    /// The number of tokens, special ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Fails when the tokenizer has another number of tokens than the model.
    pub fn check_vocabulary(&self, expected: usize, file: &str) -> Result<()> {
        let found = self.vocabulary();
        if found == expected {
            return Ok(());
        }
        let message = format!("{found} tokens, but the model has {expected}; the tokenizer belongs to another model");
        Err(Error::format(file, message))
    }

    /// The tokens of a text, without any special token.
    pub fn encode(&self, text: &str) -> Result<Vec<Token>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| Error::format("tokenizer", error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens; special tokens are left out.
    pub fn decode(&self, tokens: &[Token]) -> Result<String> {
        self.inner.decode(tokens, true).map_err(|error| Error::format("tokenizer", error))
    }

    /// A single token as it looks on a canvas: its text with the space that joins it to the token before, or the name of
    /// a special token.
    pub fn piece(&self, token: Token) -> String {
        if self.special.contains(&token) {
            return self.inner.id_to_token(token).unwrap_or_default();
        }
        let alone = self.inner.decode(&[token], false).unwrap_or_default();
        // Where the decoder drops the space before the first token, the same token behind itself shows it.
        let twice = self.inner.decode(&[token, token], false).unwrap_or_default();
        match twice.strip_prefix(&alone) {
            Some(second) if second.trim_start() == alone => second.to_string(),
            _ => alone,
        }
    }

    /// Whether a token is special (mask, end, padding).
    pub fn is_special(&self, token: Token) -> bool {
        self.special.contains(&token)
    }

    pub(super) fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    /// The id of a token by its name.
    pub fn token(&self, name: &str) -> Option<Token> {
        self.inner.token_to_id(name)
    }
}
