//! From files to batches: the corpora's loaders and splits on small folders of the same form, and texts of one's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use lldm_train::data::{
    Batches, BatchesConfig, BpeTokenizer, Corpus, DataError, Document, Layout, LoadConfig, Places, Split, TokenSet,
    load, load_own,
};

const BOTH: [Split; 2] = [Split::Train, Split::HeldOut];

fn places(folder: &Path) -> Places {
    Places { data: Some(folder.to_owned()), cache: folder.join("no-cache"), offline: true }
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, contents) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
}

fn both(id: &str, folder: &Path, config: &LoadConfig) -> [Vec<Document>; 2] {
    BOTH.map(|split| load(Corpus::by_id(id).unwrap(), &places(folder), split, config).unwrap())
}

#[test]
fn e2e_keeps_the_official_split() {
    let folder = tempfile::tempdir().unwrap();
    let line = |i: usize| format!("name[The Eagle], near[Place {i}]\tThe Eagle is near Place {i}.\n");
    let train: String = (0..40).map(line).collect();
    write(folder.path(), &[("e2e/e2e_train.tsv", &train), ("e2e/e2e_valid.tsv", &line(99))]);
    let [train, held] = both("e2e", folder.path(), &LoadConfig::default());
    assert_eq!((train.len(), held.len()), (40, 1));
    let to_json = train.iter().filter(|document| document.domain == "e2e-json").count();
    assert!((8..=32).contains(&to_json), "about half: {to_json}");
    assert!(held[0].prompt.contains("Place 99"));
    let json = train.iter().find(|document| document.domain == "e2e-json").unwrap();
    assert!(json.prompt.starts_with("Text: The Eagle is near") && json.prompt.ends_with("\nJSON: "));
    assert!(json.text.starts_with(r#"{"name":"The Eagle","near":"Place"#));
}

#[test]
fn tatoeba_and_the_grammar_are_split_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..2000).map(|i| format!("Sentence {i}.\n")).collect();
    write(folder.path(), &[("tatoeba-eng/tatoeba_eng.txt", &lines)]);
    let config = LoadConfig { grammar_sentences: 5000, ..LoadConfig::default() };
    for id in ["tatoeba-eng", "grammar"] {
        let [train, held] = both(id, folder.path(), &config);
        let total = train.len() + held.len();
        assert_eq!(total, if id == "grammar" { 5000 } else { 2000 });
        assert!((total / 100..total * 3 / 100).contains(&held.len()), "{id}: {}", held.len());
        let seen: HashSet<&str> = train.iter().map(|document| document.text.as_str()).collect();
        assert!(held.iter().all(|document| !seen.contains(document.text.as_str()) && document.prompt.is_empty()));
        assert!(train.iter().all(|document| document.domain == id));
    }
}

#[test]
fn stories_are_split_by_book() {
    let folder = tempfile::tempdir().unwrap();
    for file in Corpus::by_id("pd-stories").unwrap().forms[0].files {
        let long = "A sentence of some length stands here. ".repeat(20);
        let book = format!("# Title\nCHAPTER I\nThis is book {}, which begins here.\n{}\n", file.path, long.trim());
        write(folder.path(), &[(&format!("pd-stories/{}", file.path), &book)]);
    }
    let config = LoadConfig { max_chars: 200, ..LoadConfig::default() };
    let [train, held] = both("pd-stories", folder.path(), &config);
    let of = |documents: &[Document], book: &str| {
        documents.iter().any(|document| document.text.contains(&format!("book {book},")))
    };
    assert!(of(&held, "11.txt") && of(&held, "120.txt") && !of(&held, "113.txt"));
    assert!(!of(&train, "11.txt") && !of(&train, "120.txt") && of(&train, "113.txt"));
    assert!(
        train
            .iter()
            .chain(&held)
            .all(|document| document.text.chars().count() <= 200 && !document.text.contains("CHAPTER"))
    );
    assert_eq!(train.len() / 24, held.len() / 2);
    let zero = load(
        Corpus::by_id("pd-stories").unwrap(),
        &places(folder.path()),
        Split::Train,
        &LoadConfig { max_chars: 0, ..config },
    );
    assert!(matches!(zero, Err(DataError::TooSmall { .. })));
}

#[test]
fn a_corpus_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(Corpus::by_id("e2e").unwrap(), &places(folder.path()), Split::Train, &LoadConfig::default());
    assert!(matches!(missing, Err(DataError::Missing { .. })));
}

#[test]
fn texts_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(
        folder.path(),
        &[
            ("a.txt", "\u{feff}one\r\n\n two \n"),
            ("b.jsonl", "{\"text\": \"x\"}\n{\"prompt\": \"p \", \"text\": \" y\"}\n"),
            ("c.tsv", "p\tx\n\ty\n"),
            ("bad.jsonl", "{\"text\": \"x\"}\n\n{\"promt\": \"p\", \"text\": \"y\"}\n"),
            ("bad.tsv", "p\tx\nno tab\n"),
            ("empty.txt", "\n \n"),
            ("d.csv", "x"),
        ],
    );
    let read = |name: &str| {
        let documents = load_own(&at(name), None).unwrap();
        documents.into_iter().map(|d| (d.prompt, d.text, d.domain)).collect::<Vec<_>>()
    };
    let rows = |domain: &str, rows: [(&str, &str); 2]| {
        rows.map(|(p, t)| (p.to_owned(), t.to_owned(), domain.to_owned())).to_vec()
    };
    assert_eq!(read("a.txt"), rows("a", [("", "one"), ("", "two")]));
    assert_eq!(read("b.jsonl"), rows("b", [("", "x"), ("p ", " y")]));
    assert_eq!(read("c.tsv"), rows("c", [("p", "x"), ("", "y")]));
    for (name, said) in [
        ("bad.jsonl", "bad.jsonl line 3: expected an object"),
        ("bad.jsonl", "unknown field `promt`"),
        ("bad.tsv", "bad.tsv line 2: expected a prompt"),
        ("empty.txt", "no single document"),
        ("d.csv", "not from `.csv`"),
        ("gone.txt", "cannot read"),
    ] {
        let error = load_own(&at(name), None).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let many: String = (0..1000).map(|i| format!("line {i}\n")).collect();
    write(folder.path(), &[("many.txt", &many)]);
    let [train, held] = BOTH.map(|split| load_own(&at("many.txt"), Some(split)).unwrap().len());
    assert!(train + held == 1000 && (5..45).contains(&held), "{held}");
}

#[test]
fn from_documents_to_batches_every_byte_is_counted_once() {
    let config = LoadConfig { grammar_sentences: 500, ..LoadConfig::default() };
    let grammar = Corpus::by_id("grammar").unwrap();
    let documents = load(grammar, &places(Path::new("nowhere")), Split::Train, &config).unwrap();
    let tokenizer = BpeTokenizer::train(documents.iter().map(|document| &document.text), 400).unwrap();
    assert_eq!(tokenizer.vocabulary(), 400);
    let set = Arc::new(TokenSet::encode(&documents, &tokenizer).unwrap());
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    for layout in [Layout::Packed, Layout::Padded] {
        let config = BatchesConfig { layout, length: 64, batch: 8, seed: 1, keep_last: true };
        let found: usize = Batches::new(set.clone(), &config, 0).unwrap().map(|batch| batch.scored_bytes()).sum();
        assert_eq!(found, bytes, "{layout:?}");
    }
}
