//! The bytes that each token of a tokenizer stands for: what a constraint reads.
//!
//! Three ways of spelling are known: byte-level pieces (GPT-2 and most since), pieces with `▁` for a space and `<0x..>` for single
//! bytes (Gemma), and whole words that are joined by spaces. Whether they are understood rightly is checked against the decoder.

use std::collections::HashMap;

use lldm_diffusion::Token;
use tokenizers::decoders::DecoderWrapper;

use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// What the tokens of a tokenizer stand for.
#[derive(Clone, Debug)]
pub struct TokenBytes {
    /// The bytes of each of the V tokens; none for special ones, and for those that no text holds.
    pub bytes: Vec<Option<Vec<u8>>>,
    /// Whether the first token of a text is written without the space that it begins with.
    pub first_without_space: bool,
}

/// How a tokenizer spells its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    ByteLevel,
    Metaspace,
    Words,
}

impl Tokenizer {
    /// The bytes of its tokens.
    ///
    /// # Errors
    /// Where the tokens are spelled in another way than those known.
    pub fn token_bytes(&self) -> Result<TokenBytes> {
        let spelling = self.spelling()?;
        let letters = letters();
        let bytes: Vec<_> =
            (0..self.vocabulary() as Token).map(|token| self.bytes_of(token, spelling, &letters)).collect();
        let bytes = TokenBytes { bytes, first_without_space: spelling == Spelling::Words };
        self.check(&bytes)?;
        Ok(bytes)
    }

    fn spelling(&self) -> Result<Spelling> {
        let unknown = |what: String| Error::format("tokenizer", format!("constraints cannot be used with {what}"));
        let decoders = match self.inner().get_decoder() {
            None => return Ok(Spelling::Words),
            Some(DecoderWrapper::Sequence(sequence)) => sequence.get_decoders().to_vec(),
            Some(one) => vec![one.clone()],
        };
        let mut spelling = None;
        for decoder in &decoders {
            match decoder {
                DecoderWrapper::ByteLevel(_) => spelling = Some(Spelling::ByteLevel),
                DecoderWrapper::Replace(_) => spelling = Some(Spelling::Metaspace),
                DecoderWrapper::ByteFallback(_) | DecoderWrapper::Fuse(_) => {}
                other => return Err(unknown(format!("its decoder {other:?}"))),
            }
        }
        spelling.ok_or_else(|| unknown("a decoder that replaces no spaces".to_string()))
    }

    fn bytes_of(&self, token: Token, spelling: Spelling, letters: &HashMap<char, u8>) -> Option<Vec<u8>> {
        if self.is_special(token) {
            return None;
        }
        let piece = self.inner().id_to_token(token)?;
        if self.inner().get_added_tokens_decoder().contains_key(&token) {
            return Some(piece.into_bytes());
        }
        match spelling {
            Spelling::ByteLevel => piece.chars().map(|letter| letters.get(&letter).copied()).collect(),
            Spelling::Metaspace => {
                let byte = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match byte.and_then(|byte| u8::from_str_radix(byte, 16).ok()) {
                    Some(byte) => Some(vec![byte]),
                    None => Some(piece.replace('\u{2581}', " ").into_bytes()),
                }
            }
            Spelling::Words => Some(format!(" {piece}").into_bytes()),
        }
    }

    /// Compares the bytes with what the decoder writes, on sequences that hold every token now and then.
    fn check(&self, found: &TokenBytes) -> Result<()> {
        let written: Vec<Token> =
            (0..).zip(&found.bytes).filter(|(_, bytes)| bytes.is_some()).map(|(token, _)| token).collect();
        // Neighbours far apart, so that pieces of all kinds meet.
        let stride = written.len() / 3 + 1;
        for start in (0..written.len().min(4096)).step_by(7) {
            let tokens: Vec<_> = (0..7).map(|at| written[(start + at * stride) % written.len()]).collect();
            let bytes: Vec<u8> =
                tokens.iter().filter_map(|token| found.bytes[*token as usize].as_deref()).flatten().copied().collect();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let text = if found.first_without_space { text.trim_start_matches(' ').to_string() } else { text };
            // Bytes of no letter look different wherever they are.
            if text.contains('\u{fffd}') {
                continue;
            }
            let decoded = self.decode(&tokens)?;
            if decoded != text {
                let message = format!(
                    "constraints cannot be used: tokens {tokens:?} were taken for {text:?}, but stand for {decoded:?}"
                );
                return Err(Error::format("tokenizer", message));
            }
        }
        Ok(())
    }
}

/// The letters by which byte-level pieces write their bytes: printable ones stand for themselves, the others for U+0100 and on
/// (GPT-2, `bytes_to_unicode`).
fn letters() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = 0x100..;
    let letter = |byte: u8| {
        let code = if printable(byte) { u32::from(byte) } else { others.next().unwrap_or(0) };
        char::from_u32(code).map(|letter| (letter, byte))
    };
    (0..=255).filter_map(letter).collect()
}
