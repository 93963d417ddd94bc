//! Which part of a corpus a document belongs to: one rule a corpus, used by every recipe.
//!
//! A document's part is a function of the document (or its file) alone, so that it does not depend on the order of the
//! corpus, on a seed, or on what else is loaded, and so that two recipes never disagree on what is held out.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The part of a corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What a model may be trained on.
    Train,
    /// What no training sees: for choosing and measuring.
    HeldOut,
}

/// How a corpus is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitRule {
    /// By whole files: these are held out, all others are for training. For corpora with an official split (E2E) and
    /// for books, where paragraphs of one book tell too much of each other.
    HeldOutFiles(&'static [&'static str]),
    /// By [`line_hash`]: one line of `HASH_PARTS` (2%) is held out. Equal lines fall into the same part.
    LineHash,
}

/// The books that are held out of `pd-stories`: *Alice's Adventures in Wonderland* (11) and *Treasure Island* (120). No
/// other book of the corpus shares their world.
pub const HELD_OUT_BOOKS: &[&str] = &["11.txt", "120.txt"];

/// The official development files of E2E, in both of its forms.
pub const HELD_OUT_E2E: &[&str] = &["e2e_valid.tsv", "devset.csv"];

/// One line in so many is held out by [`SplitRule::LineHash`].
pub const HASH_PARTS: u64 = 50;

impl Split {
    /// The part's name in messages and files.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::HeldOut => "held-out",
        }
    }
}

impl SplitRule {
    /// The part of `line` in the file `file` (the name inside the corpus's folder).
    pub fn split(self, file: &str, line: &str) -> Split {
        let held_out = match self {
            SplitRule::HeldOutFiles(files) => files.contains(&file),
            SplitRule::LineHash => line_hash(line).is_multiple_of(HASH_PARTS),
        };
        if held_out { Split::HeldOut } else { Split::Train }
    }
}

/// The first 8 bytes (big-endian) of the SHA-256 of the trimmed line.
pub fn line_hash(line: &str) -> u64 {
    let digest = Sha256::digest(line.trim().as_bytes());
    digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256s_first_eight_bytes() {
        // printf abc | sha256sum: ba7816bf8f01cfea414140de...
        assert_eq!(line_hash(" abc\r\n"), 0xba78_16bf_8f01_cfea);
    }

    #[test]
    fn lines_are_split_by_hash() {
        let held =
            (0..20_000).filter(|i| SplitRule::LineHash.split("x", &format!("line {i}")) == Split::HeldOut).count();
        assert!((330..470).contains(&held), "{held} of 20000");
        assert_eq!(SplitRule::LineHash.split("a", "same "), SplitRule::LineHash.split("b", "same"));
    }

    #[test]
    fn files_are_split_whole() {
        let books = SplitRule::HeldOutFiles(HELD_OUT_BOOKS);
        assert_eq!(books.split("11.txt", "any"), Split::HeldOut);
        assert_eq!(books.split("113.txt", "any"), Split::Train);
    }
}
