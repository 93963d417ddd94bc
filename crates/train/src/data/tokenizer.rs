//! Byte-level byte-pair encoding (Sennrich et al. 2016; over bytes: Radford et al. 2019), trained by the `tokenizers`
//! crate.
//!
//! Nothing is normalised and every byte is a token, so any text comes back unchanged. The same texts give the same
//! tokenizer, byte for byte.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer, models::TrainerWrapper};

use super::error::{DataError, Result};

/// The id of `<mask>`: what a masked cell holds.
pub const MASK: u32 = 0;
/// The id of `<end>`: what ends every document.
pub const END: u32 = 1;
/// The id of `<pad>`: what fills a row after its document.
pub const PAD: u32 = 2;

/// The special tokens, each at the id that is its place.
pub const SPECIAL: [&str; 3] = ["<mask>", "<end>", "<pad>"];

/// The smallest vocabulary: the special tokens and the 256 bytes.
pub const MIN_VOCABULARY: usize = SPECIAL.len() + 256;

/// A byte-level tokenizer with our special tokens.
#[derive(Clone, Debug)]
pub struct BpeTokenizer {
    inner: Tokenizer,
    /// The bytes of each token; special tokens have none.
    byte_lengths: Vec<u32>,
}

impl BpeTokenizer {
    /// Trains a vocabulary of `vocabulary` tokens on texts. It gets smaller where the texts have too few different
    /// pairs ([`vocabulary`](Self::vocabulary) tells).
    pub fn train<I, S>(texts: I, vocabulary: usize) -> Result<Self>
    where
        I: Iterator<Item = S> + Send,
        S: AsRef<str> + Send,
    {
        if vocabulary < MIN_VOCABULARY {
            return Err(DataError::Vocabulary { found: vocabulary, least: MIN_VOCABULARY });
        }
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .vocab_size(vocabulary)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect())
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<char>>())
            .build()
            .into();
        let byte_level = ByteLevel::default().add_prefix_space(false);
        let mut inner = Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
        inner.train(&mut trainer, texts).map_err(|error| failed("be trained", error))?;
        Self::checked(inner, None)
    }

    /// Reads a `tokenizer.json` that [`save`](Self::save) wrote.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let inner = Tokenizer::from_bytes(bytes).map_err(|error| failed("be read", error))?;
        Self::checked(inner, Some(path))
    }

    /// Writes `tokenizer.json`, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut json = self.json()?;
        json.push('\n');
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = Path::new(&temporary);
        let written = File::create(temporary)
            .and_then(|mut file| file.write_all(json.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(temporary, path));
        written.map_err(|source| {
            // The error that matters is the first one.
            let _ = fs::remove_file(temporary);
            DataError::Write { path: path.to_owned(), source }
        })
    }

    /// The contents of `tokenizer.json`.
    pub fn json(&self) -> Result<String> {
        self.inner.to_string(true).map_err(|error| failed("be written", error))
    }

    /// The tokens of a text. `<end>` and its like in the text are ordinary characters, never special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| failed("encode a text", error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of many texts, on all cores.
    pub fn encode_all(&self, texts: Vec<&str>) -> Result<Vec<Vec<u32>>> {
        let encodings =
            self.inner.encode_batch_fast(texts, false).map_err(|error| failed("encode the texts", error))?;
        Ok(encodings.into_iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The text of tokens, special tokens left out. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner.decode(tokens, true).map_err(|error| failed("decode tokens", error))
    }

    /// V: how many tokens there are, special ones included.
    pub fn vocabulary(&self) -> usize {
        self.byte_lengths.len()
    }

    /// For each token how many bytes of text it stands for; 0 for the special ones.
    pub fn byte_lengths(&self) -> &[u32] {
        &self.byte_lengths
    }

    /// The tokenizer as the `tokenizers` crate has it.
    pub fn inner(&self) -> &Tokenizer {
        &self.inner
    }

    /// Makes sure that the special tokens are at their places and that every byte has a token.
    fn checked(mut inner: Tokenizer, path: Option<&Path>) -> Result<Self> {
        let lacks = |lacks: String| DataError::ForeignTokenizer { path: path.map(Path::to_owned), lacks };
        for (id, token) in (0..).zip(SPECIAL) {
            if inner.token_to_id(token) != Some(id) {
                return Err(lacks(format!("the special token {token} at id {id}")));
            }
        }
        let alphabet = ByteLevel::alphabet();
        if let Some(byte) = alphabet.iter().find(|byte| inner.token_to_id(&byte.to_string()).is_none()) {
            return Err(lacks(format!("a token for the byte that is written `{byte}`")));
        }
        let mut byte_lengths = vec![0; inner.get_vocab_size(true)];
        for (id, bytes) in (0..).zip(&mut byte_lengths).skip(SPECIAL.len()) {
            let token = inner.id_to_token(id).ok_or_else(|| lacks(format!("the token with id {id}")))?;
            // One character of the byte alphabet is one byte.
            if !token.chars().all(|c| alphabet.contains(&c)) {
                return Err(lacks(format!("byte-level tokens (token {id} is `{token}`)")));
            }
            *bytes = token.chars().count() as u32;
        }
        inner.set_encode_special_tokens(true);
        Ok(Self { inner, byte_lengths })
    }
}

fn failed(doing: &'static str, error: tokenizers::Error) -> DataError {
    DataError::Tokenizer { doing, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 4] =
        ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "caf\u{e9} caf\u{e9}"];

    fn small() -> BpeTokenizer {
        BpeTokenizer::train(TEXTS.iter(), 300).unwrap()
    }

    #[test]
    fn any_text_comes_back() {
        let tokenizer = small();
        let texts = [
            "",
            " ",
            "  two  spaces \n\t\r\n",
            "the cat",
            "\u{0}\u{7f}",
            "日本語 \u{1f600} e\u{301} \u{e9}",
            "<end><mask> <pad>",
            "\u{feff}bom \u{a0}nbsp \u{10ffff}",
            "Record: name = The Eagle; food = French\nText: ",
        ];
        for text in texts {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
            assert!(tokens.iter().all(|token| *token > PAD), "{text:?}");
            let bytes: u32 = tokens.iter().map(|token| tokenizer.byte_lengths()[*token as usize]).sum();
            assert_eq!(bytes as usize, text.len(), "{text:?}");
        }
        assert_eq!(tokenizer.encode_all(texts.to_vec()).unwrap()[3], tokenizer.encode("the cat").unwrap());
        assert_eq!(tokenizer.decode(&[MASK, END, PAD]).unwrap(), "");
    }

    #[test]
    fn two_trainings_give_the_same_bytes() {
        let many: Vec<String> = (0..3000).map(|i| format!("{} {} {}", TEXTS[i % 4], i % 97, (i * i) % 89)).collect();
        let train = || BpeTokenizer::train(many.iter(), 600).unwrap().json().unwrap();
        assert_eq!(train(), train());
    }

    #[test]
    fn saved_and_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let tokenizer = small();
        tokenizer.save(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        let opened = BpeTokenizer::open(&path).unwrap();
        assert_eq!(opened.byte_lengths(), tokenizer.byte_lengths());
        assert_eq!(opened.encode("the cat <end>").unwrap(), tokenizer.encode("the cat <end>").unwrap());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let small = BpeTokenizer::train(TEXTS.iter(), 100).unwrap_err().to_string();
        assert!(small.contains("100") && small.contains("259"), "{small}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.json");
        fs::write(&path, Tokenizer::new(BPE::default()).to_string(false).unwrap()).unwrap();
        let foreign = BpeTokenizer::open(&path).unwrap_err().to_string();
        assert!(foreign.contains("<mask>") && foreign.contains("other.json"), "{foreign}");
    }
}
