//! Documents as tokens: prompt, text and `<end>` in one row of numbers, and how many bytes of text they stand for.

use super::document::Document;
use super::error::Result;
use super::tokenizer::{BpeTokenizer, END};

/// One document's tokens: the prompt's, the text's and `<end>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenDocument {
    pub tokens: Vec<u32>,
    /// How many of them are the prompt's, which are never scored.
    pub prompt: usize,
}

/// All documents of a training or a held-out set.
#[derive(Clone, Debug)]
pub struct TokenSet {
    documents: Vec<TokenDocument>,
    byte_lengths: Vec<u32>,
}

impl TokenSet {
    /// Tokenises documents on all cores. Prompt and text are encoded apart, as they are when a model is used.
    pub fn encode(documents: &[Document], tokenizer: &BpeTokenizer) -> Result<Self> {
        let mut encoded = Vec::with_capacity(documents.len());
        for chunk in documents.chunks(CHUNK) {
            let prompts = tokenizer.encode_all(chunk.iter().map(|document| document.prompt.as_str()).collect())?;
            let texts = tokenizer.encode_all(chunk.iter().map(|document| document.text.as_str()).collect())?;
            encoded.extend(prompts.into_iter().zip(texts).map(|(mut tokens, text)| {
                let prompt = tokens.len();
                tokens.extend(text);
                tokens.push(END);
                tokens.shrink_to_fit();
                TokenDocument { tokens, prompt }
            }));
        }
        Ok(Self::new(encoded, tokenizer.byte_lengths().to_vec()))
    }

    /// A set of documents that are tokens already; `byte_lengths[token]` is the number of bytes that the token stands
    /// for (0 for special tokens, and for tokens beyond the table).
    pub fn new(documents: Vec<TokenDocument>, byte_lengths: Vec<u32>) -> Self {
        Self { documents, byte_lengths }
    }

    pub fn documents(&self) -> &[TokenDocument] {
        &self.documents
    }

    /// All tokens: prompts, texts and `<end>`.
    pub fn tokens(&self) -> usize {
        self.documents.iter().map(|document| document.tokens.len()).sum()
    }

    /// The tokens of texts and `<end>`.
    pub fn scored_tokens(&self) -> usize {
        self.documents.iter().map(|document| document.tokens.len() - document.prompt).sum()
    }

    /// The UTF-8 bytes of all texts.
    pub fn text_bytes(&self) -> usize {
        self.documents.iter().map(|document| self.bytes(&document.tokens[document.prompt..])).sum()
    }

    /// The tokens of the longest document.
    pub fn longest(&self) -> usize {
        self.documents.iter().map(|document| document.tokens.len()).max().unwrap_or(0)
    }

    /// How many documents have more than `length` tokens: these the padded layout truncates.
    pub fn longer_than(&self, length: usize) -> usize {
        self.documents.iter().filter(|document| document.tokens.len() > length).count()
    }

    /// How many bytes of text the tokens stand for.
    pub fn bytes(&self, tokens: &[u32]) -> usize {
        tokens.iter().map(|token| self.byte_lengths.get(*token as usize).copied().unwrap_or(0) as usize).sum()
    }
}

/// Documents that are encoded at a time: the encoder's own results are many times larger than the tokens.
const CHUNK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_prompt_text_and_end() {
        let document = |prompt: &str, text: &str| Document {
            prompt: prompt.to_owned(),
            text: text.to_owned(),
            domain: String::new(),
        };
        let documents = [document("Record: é\nText: ", "café <end>"), document("", "b")];
        let tokenizer = BpeTokenizer::train(documents.iter().map(|d| &d.text), 300).unwrap();
        let set = TokenSet::encode(&documents, &tokenizer).unwrap();
        assert_eq!(set.text_bytes(), documents.iter().map(|d| d.text.len()).sum::<usize>());
        for (tokens, document) in set.documents().iter().zip(&documents) {
            let (prompt, text) = tokens.tokens.split_at(tokens.prompt);
            assert_eq!(tokenizer.decode(prompt).unwrap(), document.prompt);
            assert_eq!(tokenizer.decode(text).unwrap(), document.text);
            assert_eq!((text.last(), text.iter().filter(|t| **t == END).count()), (Some(&END), 1));
        }
        assert_eq!(set.tokens() - set.scored_tokens(), set.documents()[0].prompt);
        assert_eq!((set.longer_than(2), set.longest()), (1, set.documents()[0].tokens.len()));
    }
}
