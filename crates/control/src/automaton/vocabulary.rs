//! The bytes of a tokenizer's tokens, in the order of a trie.

use lldm_diffusion::Token;
use sha2::{Digest, Sha256};

/// The tokens that can stand in a text, sorted by their bytes. Special tokens are no part of it: a constraint never lets one through
/// because its name happens to match.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    size: usize,
    sorted: Vec<Entry>,
    /// The bytes of the sorted tokens, one behind the other.
    bytes: Vec<u8>,
    end: Vec<Token>,
    digest: [u8; 32],
}

/// A token of the trie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) token: Token,
    /// Bytes in common with the entry before.
    pub(super) shared: u32,
    from: u32,
    to: u32,
}

impl Vocabulary {
    /// From the bytes of each of the V tokens (`None` for a special one, or one without bytes), and the tokens that end a text.
    pub fn new<B: AsRef<[u8]>>(tokens: &[Option<B>], end: &[Token]) -> Self {
        let mut ends = vec![false; tokens.len()];
        for token in end {
            if let Some(ends) = ends.get_mut(*token as usize) {
                *ends = true;
            }
        }
        let mut sorted: Vec<(&[u8], Token)> = (0..)
            .zip(tokens)
            .filter(|(token, _)| !ends[*token as usize])
            .filter_map(|(token, bytes)| Some((bytes.as_ref()?.as_ref(), token)))
            .filter(|(bytes, _)| !bytes.is_empty())
            .collect();
        sorted.sort_unstable();
        let mut bytes = Vec::with_capacity(sorted.iter().map(|(bytes, _)| bytes.len()).sum());
        let mut before: &[u8] = &[];
        let mut entries = Vec::with_capacity(sorted.len());
        for (text, token) in sorted {
            let shared = before.iter().zip(text).take_while(|(a, b)| a == b).count() as u32;
            let from = bytes.len() as u32;
            bytes.extend_from_slice(text);
            entries.push(Entry { token, shared, from, to: bytes.len() as u32 });
            before = text;
        }
        Self { size: tokens.len(), sorted: entries, bytes, end: end.to_vec(), digest: digest(tokens, end) }
    }

    /// V.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The tokens that a text can hold, with their bytes, in the order of these.
    pub fn tokens(&self) -> impl Iterator<Item = (Token, &[u8])> {
        self.sorted.iter().map(|entry| (entry.token, self.bytes(entry)))
    }

    /// The tokens that end a text.
    pub fn end(&self) -> &[Token] {
        &self.end
    }

    /// The SHA-256 of all that distinguishes it from other vocabularies: the bytes of all tokens, and the end tokens.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(super) fn sorted(&self) -> &[Entry] {
        &self.sorted
    }

    pub(super) fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.from as usize..entry.to as usize]
    }
}

fn digest<B: AsRef<[u8]>>(tokens: &[Option<B>], end: &[Token]) -> [u8; 32] {
    let mut all = Vec::new();
    all.extend((end.len() as u64).to_le_bytes());
    end.iter().for_each(|token| all.extend(token.to_le_bytes()));
    for bytes in tokens {
        // A token without bytes is told from an empty one.
        let bytes = bytes.as_ref().map(AsRef::as_ref);
        all.extend(bytes.map_or(u32::MAX, |bytes| bytes.len() as u32).to_le_bytes());
        all.extend(bytes.unwrap_or_default());
    }
    Sha256::digest(&all).into()
}
