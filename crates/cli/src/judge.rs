//! The n-gram judge of `lldm eval` and `lldm bench`: the text that it is trained on, and human text to hold beside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use lldm::judge::KneserNey;
use lldm_models::Tokenizer;
use lldm_train::data::{Corpus, DataError, Document, LoadConfig, Places, Split, load, load_own, locate};
use lldm_train::dataset::documents;

use crate::bundled;
use crate::commands::data::explained;

/// The recipe whose text trains the judge where nobody names another.
const RECIPE: &str = "default";
/// Documents that are looked at to see whether a tokenizer can write a text.
const TRIED: usize = 200;
/// Files that hold texts.
const EXTENSIONS: &[&str] = &["txt", "jsonl", "tsv"];

/// What a judge is trained on, and what is held out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JudgeText {
    /// What it is called in a report.
    pub(crate) name: String,
    /// What the judge is trained on.
    pub(crate) train: Vec<Document>,
    /// Human text that it has not seen; there may be none.
    pub(crate) held_out: Vec<Document>,
}

impl JudgeText {
    /// The texts of corpora by id, of files, and of the files in folders.
    pub(crate) fn named(names: &[String], places: &Places) -> Result<Self> {
        let mut text = Self { name: names.join(", "), ..Self::default() };
        for name in names {
            let path = Path::new(name);
            let files = if path.is_dir() {
                files(path)?
            } else if path.is_file() || looks_like_a_file(path) {
                vec![path.to_owned()]
            } else {
                let corpus = Corpus::by_id(name)
                    .map_err(|error| anyhow!("--judge is a file, a folder or a corpus, not `{name}`: {error}"))?;
                for split in [Split::Train, Split::HeldOut] {
                    let documents = load(corpus, places, split, &LoadConfig::default());
                    text.part(split).extend(documents.map_err(|error| explained(&error))?);
                }
                continue;
            };
            for file in files {
                for split in [Split::Train, Split::HeldOut] {
                    match load_own(&file, Some(split)) {
                        // A short file may have all of its lines in one part.
                        Err(DataError::Empty { .. }) => {}
                        documents => text.part(split).extend(documents?),
                    }
                }
            }
        }
        if text.train.is_empty() {
            bail!("{} holds no text for the judge: name a longer one", text.name);
        }
        Ok(text)
    }

    /// The text of the default recipe, if its corpora are on this machine.
    pub(crate) fn of_the_default_recipe(places: &Places) -> Result<Option<Self>> {
        let recipe = bundled::recipe(RECIPE, &[])?;
        for id in &recipe.data.corpora {
            match locate(Corpus::by_id(id)?, places) {
                Err(DataError::Missing { .. }) => return Ok(None),
                found => drop(found?),
            }
        }
        Ok(Some(Self {
            name: format!("the recipe `{RECIPE}`: {}", recipe.data.corpora.join(", ")),
            train: documents(&recipe, places, Split::Train)?,
            held_out: documents(&recipe, places, Split::HeldOut)?,
        }))
    }

    /// Whether the text comes back from the tokenizer as it was, which a judge over its tokens needs.
    pub(crate) fn fits(&self, tokenizer: &Tokenizer) -> Result<bool> {
        let stride = (self.train.len() / TRIED).max(1);
        for document in self.train.iter().step_by(stride) {
            if tokenizer.decode(&tokenizer.encode(&document.text)?)? != document.text {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The judge over a tokenizer. Prompt and text are encoded apart, as they are when a model is used.
    pub(crate) fn train(&self, tokenizer: &Tokenizer, end: Option<u32>) -> Result<KneserNey> {
        let mut sequences = Vec::with_capacity(self.train.len());
        for document in &self.train {
            let mut tokens = tokenizer.encode(&document.prompt)?;
            tokens.extend(tokenizer.encode(&document.text)?);
            tokens.extend(end);
            tokens.shrink_to_fit();
            sequences.push(tokens);
        }
        train(tokenizer.vocabulary(), sequences)
    }

    fn part(&mut self, split: Split) -> &mut Vec<Document> {
        match split {
            Split::Train => &mut self.train,
            Split::HeldOut => &mut self.held_out,
        }
    }
}

/// The judge from documents that are tokens already, ends included.
pub(crate) fn train<S: AsRef<[u32]>>(vocabulary: usize, documents: impl IntoIterator<Item = S>) -> Result<KneserNey> {
    Ok(KneserNey::train(KneserNey::DEFAULT_ORDER, vocabulary, documents)?)
}

/// Texts that have no prompt, evenly from all domains; none where all have one.
pub(crate) fn human_texts(documents: &[Document], count: usize) -> Vec<String> {
    let mut domains: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in documents.iter().filter(|document| document.prompt.is_empty()) {
        domains.entry(&document.domain).or_default().push(document);
    }
    let share = count.div_ceil(domains.len().max(1));
    let spread = |documents: &Vec<&Document>| {
        let stride = (documents.len() / share.max(1)).max(1);
        documents.iter().step_by(stride).take(share).map(|document| document.text.clone()).collect::<Vec<_>>()
    };
    domains.values().flat_map(spread).take(count).collect()
}

/// The files of a folder that hold texts, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let place = folder.display();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {place}"))?;
    let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let texts = |path: &PathBuf| path.is_file() && extension(path).is_some_and(|end| EXTENSIONS.contains(&end));
    files.retain(texts);
    if files.is_empty() {
        bail!("{place} holds no .txt, .jsonl or .tsv file");
    }
    files.sort();
    Ok(files)
}

fn looks_like_a_file(path: &Path) -> bool {
    path.components().count() > 1 || extension(path).is_some_and(|end| EXTENSIONS.contains(&end))
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(|end| end.to_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        Places { data: None, cache: folder.join("cache"), offline: true }
    }

    #[test]
    fn text_comes_from_files_folders_and_corpora() {
        let folder = tempfile::tempdir().expect("a folder");
        let lines: String = (0..300).map(|line| format!("sentence {line} of the file\n")).collect();
        std::fs::write(folder.path().join("a.txt"), &lines).expect("a file");
        std::fs::write(folder.path().join("b.tsv"), "a prompt\ta text\n").expect("a file");
        std::fs::write(folder.path().join("c.bin"), "not read").expect("a file");
        let named = |name: &str| JudgeText::named(&[name.to_string()], &places(folder.path()));
        let path = folder.path().to_str().expect("a path");
        let file = named(&format!("{path}/a.txt")).expect("a text");
        assert!(file.train.len() + file.held_out.len() == 300 && !file.held_out.is_empty());
        let all = named(path).expect("texts");
        assert_eq!(all.train.len() + all.held_out.len(), 301);
        assert!(!named("grammar").expect("a corpus").held_out.is_empty());
        let message = |name: &str| named(name).expect_err("no text").to_string();
        assert!(message("gramar").contains("did you mean `grammar`?"), "{}", message("gramar"));
        assert!(message("no.txt").contains("cannot read no.txt"), "{}", message("no.txt"));
    }

    #[test]
    fn the_default_recipe_may_be_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(JudgeText::of_the_default_recipe(&places(folder.path())).expect("no error"), None);
    }

    #[test]
    fn a_tokenizer_must_know_the_words() {
        let toy = lldm_models::load("toy").expect("the toy");
        let text = |text: &str| JudgeText { train: vec![Document::plain(text, "a")], ..JudgeText::default() };
        assert!(text("the old captain").fits(&toy.tokenizer).expect("tokens"));
        assert!(!text("the young captain").fits(&toy.tokenizer).expect("tokens"));
        let judge = text("the old captain").train(&toy.tokenizer, Some(0)).expect("a judge");
        assert_eq!((judge.order(), judge.vocabulary()), (5, 40));
    }

    #[test]
    fn human_text_is_spread_over_domains() {
        let mut documents: Vec<_> = (0..9).map(|n| Document::plain(format!("a{n}"), "a")).collect();
        documents.push(Document::plain("b0", "b"));
        documents.push(Document { prompt: "given".to_string(), ..Document::plain("c0", "c") });
        assert_eq!(human_texts(&documents, 4), ["a0", "a4", "b0"]);
        assert!(human_texts(&documents[10..], 4).is_empty());
    }
}
