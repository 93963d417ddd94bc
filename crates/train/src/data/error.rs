//! What can go wrong between a corpus's name and a batch of tokens.

use std::io;
use std::path::PathBuf;

/// The result of everything in the data side.
pub type Result<T> = std::result::Result<T, DataError>;

/// Every error of the data side: what was expected, what was found, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    #[error(
        "no corpus is called `{id}`{}; known are {known}; for texts of your own give a .txt, .jsonl or .tsv file",
        suggestion.map(|s| format!(" (did you mean `{s}`?)")).unwrap_or_default()
    )]
    UnknownCorpus { id: String, suggestion: Option<&'static str>, known: String },

    #[error("the corpus `{corpus}` was not found; looked for {}\n{how}", looked.join("; "))]
    Missing { corpus: String, looked: Vec<String>, how: String },

    #[error(
        "the corpus `{corpus}` is generated, not stored: it has no folder and nothing to download; load it directly"
    )]
    Generated { corpus: String },

    #[error(
        "no cache folder is known: neither HOME nor the system's cache variable is set; set LLDM_DATA to a folder that \
         holds the corpora"
    )]
    NoCacheFolder,

    #[error(
        "{} is not there and the network is switched off: put the file there (from {url}), or allow the network by \
         unsetting LLDM_OFFLINE",
        path.display()
    )]
    Offline { path: PathBuf, url: String },

    #[error(
        "{url} answered {status} where 200 or 206 was expected: check the address in a browser; if the file has moved, \
         put it at {} yourself",
        path.display()
    )]
    Status { url: String, status: u16, path: PathBuf },

    #[error(
        "{url} could not be read ({reason}); {have} bytes of {expected} are kept: run the command again to continue from \
         there"
    )]
    Network { url: String, reason: String, have: u64, expected: u64 },

    #[error(
        "{url} did not give the expected file: {expected_bytes} bytes with sha256 {expected} were expected, {found_bytes} \
         bytes with sha256 {found} came; the download was removed: run the command again, and if this recurs the public \
         file has changed, so obtain the file otherwise"
    )]
    WrongDownload { url: String, expected: String, expected_bytes: u64, found: String, found_bytes: u64 },

    #[error(
        "{} is not the file that the corpus is made of: {expected_bytes} bytes with sha256 {expected} were expected, \
         {found_bytes} bytes with sha256 {found} were found; replace it, or load it as a file of your own",
        path.display()
    )]
    WrongFile { path: PathBuf, expected: &'static str, expected_bytes: u64, found: String, found_bytes: u64 },

    #[error("cannot read {}: {source}; check that it exists and may be read", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("cannot write {}: {source}; check that the folder may be written and has room", path.display())]
    Write { path: PathBuf, source: io::Error },

    #[error("{} line {line}: expected {expected}, found {found}; correct the line", path.display())]
    Line { path: PathBuf, line: usize, expected: &'static str, found: String },

    #[error(
        "{}: texts are read from .txt (one a line), .jsonl ({{\"prompt\"?, \"text\"}}) and .tsv (prompt TAB text), not \
         from `.{found}`; rename or convert the file",
        path.display()
    )]
    Extension { path: PathBuf, found: String },

    /// `part` is the split's name, or `single` where there is none.
    #[error("{what} holds no {part} document: check the file, or give more texts")]
    Empty { what: String, part: &'static str },

    #[error("the tokenizer could not {doing}: {reason}; if the file is at fault, train it again")]
    Tokenizer { doing: &'static str, reason: String },

    #[error(
        "a vocabulary of {found} tokens is too small: the special tokens and the 256 bytes alone are {least}; ask for more"
    )]
    Vocabulary { found: usize, least: usize },

    #[error(
        "the tokenizer{} lacks {lacks}: use one that `lldm train` made",
        path.as_ref().map(|p| format!(" {}", p.display())).unwrap_or_default()
    )]
    ForeignTokenizer { path: Option<PathBuf>, lacks: String },

    #[error("{what} must be at least {least}, not {found}")]
    TooSmall { what: &'static str, least: usize, found: usize },
}
