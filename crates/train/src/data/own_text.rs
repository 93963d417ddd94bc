//! Texts of the user's own: `.txt` (one text a line), `.jsonl` (`{"prompt"?, "text"}` a line), `.tsv` (prompt TAB
//! text).

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::document::Document;
use super::error::{DataError, Result};
use super::split::{Split, SplitRule};

/// The documents of a file. With a split the lines are divided by [`SplitRule::LineHash`] (2% held out); without, all
/// are taken, as for a file that is held out whole. Empty lines are passed over.
pub fn load_own(path: &Path, split: Option<Split>) -> Result<Vec<Document>> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let read: fn(&str) -> std::result::Result<(String, String), Wrong> = match extension.as_str() {
        "txt" => |line| Ok((String::new(), line.trim().to_owned())),
        "jsonl" => json_line,
        "tsv" => tsv_line,
        _ => return Err(DataError::Extension { path: path.to_owned(), found: extension }),
    };
    let contents = fs::read_to_string(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let domain = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut documents = Vec::new();
    // Some editors begin a file with a byte order mark.
    for (number, line) in contents.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() || split.is_some_and(|split| SplitRule::LineHash.split("", line) != split) {
            continue;
        }
        let (prompt, text) = read(line).map_err(|(expected, found)| DataError::Line {
            path: path.to_owned(),
            line: number + 1,
            expected,
            found,
        })?;
        documents.push(Document { prompt, text, domain: domain.clone() });
    }
    if documents.is_empty() {
        let part = split.map_or("single", Split::name);
        return Err(DataError::Empty { what: path.display().to_string(), part });
    }
    Ok(documents)
}

/// What was expected and what was found.
type Wrong = (&'static str, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    prompt: String,
    text: String,
}

fn json_line(line: &str) -> std::result::Result<(String, String), Wrong> {
    const EXPECTED: &str = "an object {\"prompt\"?: string, \"text\": string}";
    let Line { prompt, text } = serde_json::from_str(line).map_err(|error| (EXPECTED, error.to_string()))?;
    if text.is_empty() { Err((EXPECTED, "an empty text".to_owned())) } else { Ok((prompt, text)) }
}

fn tsv_line(line: &str) -> std::result::Result<(String, String), Wrong> {
    const EXPECTED: &str = "a prompt (which may be empty), one tab and a text";
    match line.split('\t').collect::<Vec<_>>().as_slice() {
        [_, text] if text.trim().is_empty() => Err((EXPECTED, "an empty text".to_owned())),
        [prompt, text] => Ok(((*prompt).to_owned(), (*text).to_owned())),
        columns => Err((EXPECTED, format!("{} tabs", columns.len() - 1))),
    }
}
