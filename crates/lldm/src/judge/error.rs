//! What can go wrong with a judge.

use std::io;
use std::path::PathBuf;

use super::kneser_ney::{MAX_ORDER, MAX_VOCABULARY};

/// Every error of a judge: what was expected, what was found, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JudgeError {
    #[error("the order of an n-gram judge is 1 to {MAX_ORDER}, not {found}: use 5 where nothing speaks against it")]
    Order { found: usize },

    #[error(
        "the vocabulary of an n-gram judge has 1 to {MAX_VOCABULARY} tokens, not {found}: train the judge on a tokenizer \
         with fewer tokens"
    )]
    Vocabulary { found: usize },

    #[error(
        "token {token} at position {position} is outside the judge's vocabulary of {vocabulary}: use the tokenizer that \
         the judge was trained with"
    )]
    Token { token: u32, position: usize, vocabulary: usize },

    #[error("the training corpus holds no token: give the judge at least one sequence that is not empty")]
    EmptyCorpus,

    #[error(
        "the training corpus holds more than {} tokens, which the judge's counters do not: train on a part of it",
        u32::MAX
    )]
    CorpusTooLarge,

    #[error("{tokens} tokens came with {scored} flags: `scored` needs one flag for each token")]
    ScoredLength { tokens: usize, scored: usize },

    #[error("cannot read the judge {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot write the judge {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("{} is not a judge of lldm: it does not begin with the judge's magic bytes; check the path", path.display())]
    Magic { path: PathBuf },

    #[error("the judge {} has format version {found}, this program reads {expected}: train it again", path.display())]
    Version { path: PathBuf, found: u32, expected: u32 },

    #[error(
        "the judge {} has {found} bytes where its header says {expected}: it was cut short or something was added; copy it \
         again or train it again",
        path.display()
    )]
    Length { path: PathBuf, expected: u64, found: u64 },

    #[error("the judge {} is damaged ({detail}): copy it again or train it again", path.display())]
    Damaged { path: PathBuf, detail: &'static str },
}
