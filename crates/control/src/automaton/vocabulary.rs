//! The bytes of a tokenizer's tokens, in the order of a trie.

use lldm_diffusion::Token;

/// The tokens that can stand in a text, sorted by their bytes. Special tokens are no part of it: a constraint never lets one through
/// because its name happens to match.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    size: usize,
    sorted: Vec<Entry>,
    end: Vec<Token>,
}

/// A token of the trie.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) bytes: Box<[u8]>,
    /// Bytes in common with the entry before.
    pub(super) shared: usize,
}

impl Vocabulary {
    /// From the bytes of each of the V tokens (`None` for a special one, or one without bytes), and the tokens that end a text.
    pub fn new<B: AsRef<[u8]>>(tokens: &[Option<B>], end: &[Token]) -> Self {
        let mut sorted: Vec<Entry> = tokens
            .iter()
            .enumerate()
            .filter(|(token, _)| !end.contains(&(*token as Token)))
            .filter_map(|(token, bytes)| Some((token as Token, bytes.as_ref()?.as_ref())))
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(token, bytes)| Entry { token, bytes: bytes.into(), shared: 0 })
            .collect();
        sorted.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.token.cmp(&b.token)));
        for at in 1..sorted.len() {
            let (before, entry) = (&sorted[at - 1].bytes, &sorted[at].bytes);
            sorted[at].shared = before.iter().zip(entry.iter()).take_while(|(a, b)| a == b).count();
        }
        Self { size: tokens.len(), sorted, end: end.to_vec() }
    }

    /// V.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The tokens that a text can hold, with their bytes, in the order of these.
    pub fn tokens(&self) -> impl Iterator<Item = (Token, &[u8])> {
        self.sorted.iter().map(|entry| (entry.token, &*entry.bytes))
    }

    /// The tokens that end a text.
    pub fn end(&self) -> &[Token] {
        &self.end
    }

    pub(super) fn sorted(&self) -> &[Entry] {
        &self.sorted
    }
}
