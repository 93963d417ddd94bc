//! A document is what a model is trained on: a prompt that is given and a text that is scored. Here: the corpora's
//! loader.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::corpus::{Corpus, CorpusFile};
use super::error::{DataError, Result};
use super::fetch::{Located, Places, locate};
use super::split::Split;
use super::{e2e, grammar, stories};

/// One training example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Given to the model and never scored; empty for plain text.
    pub prompt: String,
    /// What the model learns to write.
    pub text: String,
    /// What kind of text it is (`e2e-text`, `e2e-json`, a corpus's id, the name of a user's file): for figures by
    /// domain.
    pub domain: String,
}

/// How corpora become documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadConfig {
    /// `pd-stories`: a paragraph of more characters is cut at ends of sentences.
    pub max_chars: usize,
    /// `e2e`: which way the pairs are read.
    pub e2e: e2e::Task,
    /// `grammar`: how many sentences are made, both splits together.
    pub grammar_sentences: usize,
    /// `grammar`: the seed of the sentences.
    pub grammar_seed: u64,
}

impl Default for LoadConfig {
    fn default() -> Self {
        Self { max_chars: 400, e2e: e2e::Task::Both, grammar_sentences: 100_000, grammar_seed: 0 }
    }
}

/// The documents of one part of a corpus, in the corpus's order. The corpus must be on the disk already
/// ([`get`](super::fetch::get) brings it there), unless it is generated.
pub fn load(corpus: &Corpus, places: &Places, split: Split, config: &LoadConfig) -> Result<Vec<Document>> {
    let documents = match corpus.id {
        "grammar" => grammar::documents(corpus.split, split, config),
        "e2e" => by_file(corpus, places, split, &mut |file, text, out| e2e::read(file, text, config.e2e, out))?,
        "pd-stories" => {
            if config.max_chars == 0 {
                return Err(DataError::TooSmall { what: "max_chars", least: 1, found: 0 });
            }
            by_file(corpus, places, split, &mut |_, text, out| {
                let pieces = text.lines().filter(|line| !stories::is_heading(line));
                let pieces = pieces.flat_map(|line| stories::cut(line.trim(), config.max_chars));
                out.extend(pieces.map(|piece| Document::plain(piece, corpus.id)));
                Ok(())
            })?
        }
        // A corpus of one sentence a line.
        _ => by_file(corpus, places, split, &mut |file, text, out| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let lines = lines.filter(|line| corpus.split.split(name, line) == split);
            out.extend(lines.map(|line| Document::plain(line, corpus.id)));
            Ok(())
        })?,
    };
    if documents.is_empty() {
        return Err(DataError::Empty { what: format!("the corpus `{}`", corpus.id), part: split.name() });
    }
    Ok(documents)
}

impl Document {
    /// A text without a prompt.
    pub fn plain(text: impl Into<String>, domain: impl Into<String>) -> Self {
        Self { prompt: String::new(), text: text.into(), domain: domain.into() }
    }
}

type Reader<'a> = &'a mut dyn FnMut(&Path, &str, &mut Vec<Document>) -> Result<()>;

/// Reads every file of the corpus that has a share in `split`.
fn by_file(corpus: &Corpus, places: &Places, split: Split, read: Reader<'_>) -> Result<Vec<Document>> {
    let located: Located = locate(corpus, places)?;
    let mut documents = Vec::new();
    for file in located.form.files.iter().filter(|file| has_share(corpus, file, split)) {
        let path = located.path(file);
        let text = fs::read_to_string(&path).map_err(|source| DataError::Read { path: path.clone(), source })?;
        read(&path, &text, &mut documents)?;
    }
    Ok(documents)
}

/// Whether the file may hold documents of `split`: a file that is held out whole has none for training.
fn has_share(corpus: &Corpus, file: &CorpusFile, split: Split) -> bool {
    match corpus.split {
        super::split::SplitRule::HeldOutFiles(_) => corpus.split.split(file.path, "") == split,
        super::split::SplitRule::LineHash => true,
    }
}
