//! E2E NLG (Novikova, Dusek, Rieser 2017): restaurant records with a description each, read both ways.
//!
//! A pair gives one document, not two, so that no text is seen twice in an epoch: the hash of the line decides whether
//! it is record to text or text to JSON, in training and held-out alike.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::csv;
use super::document::Document;
use super::error::{DataError, Result};
use super::split::line_hash;

/// The fields of a record, in the order in which the official files and the JSON have them.
pub const FIELDS: [&str; 8] =
    ["name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near"];

/// Which way the pairs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Each pair one way, by the hash of its line.
    Both,
    RecordToText,
    TextToJson,
}

/// A restaurant: the fields that are known, in the order of [`FIELDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub fields: Vec<(&'static str, String)>,
}

impl Record {
    /// Reads `name[The Eagle], food[French]`; the error says what was found in place of that.
    pub fn parse(written: &str) -> std::result::Result<Self, String> {
        let mut fields = Vec::new();
        let mut rest = written.trim();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('[').ok_or_else(|| format!("`{rest}`"))?;
            let (value, after) = after.split_once(']').ok_or_else(|| format!("`{rest}` without `]`"))?;
            let key = key.trim_start_matches(',').trim();
            let place = FIELDS.iter().position(|field| *field == key).ok_or_else(|| format!("the field `{key}`"))?;
            fields.push((place, value.trim().to_owned()));
            rest = after.trim();
        }
        fields.sort_by_key(|(place, _)| *place);
        if let Some(twice) = fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("the field `{}` twice", FIELDS[twice[0].0]));
        }
        if fields.is_empty() {
            return Err("an empty record".to_owned());
        }
        Ok(Self { fields: fields.into_iter().map(|(place, value)| (FIELDS[place], value)).collect() })
    }

    /// `name = The Eagle; food = French`.
    pub fn listed(&self) -> String {
        self.fields.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join("; ")
    }

    /// `{"name":"The Eagle","food":"French"}`.
    pub fn json(&self) -> String {
        // Written field by field: the order stands whatever serde_json's map keeps.
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let fields = self.fields.iter().map(|(key, value)| format!("{}:{}", string(key), string(value)));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    }

    /// What a model is given that shall describe the record.
    pub fn text_prompt(&self) -> String {
        format!("Record: {}\nText: ", self.listed())
    }
}

/// What a model is given that shall read the record out of a description.
pub fn json_prompt(text: &str) -> String {
    format!("Text: {text}\nJSON: ")
}

/// The document of one pair; `line` is `record TAB text` as the file has it.
pub fn document(record: &Record, text: &str, line: &str, task: Task) -> Document {
    let to_json = match task {
        Task::Both => line_hash(line) % 2 == 1,
        Task::RecordToText => false,
        Task::TextToJson => true,
    };
    if to_json {
        Document { prompt: json_prompt(text), text: record.json(), domain: "e2e-json".to_owned() }
    } else {
        Document { prompt: record.text_prompt(), text: text.to_owned(), domain: "e2e-text".to_owned() }
    }
}

/// Reads the contents of one file, the official CSV or `record TAB text`, and appends its documents.
pub(super) fn read(path: &Path, contents: &str, task: Task, documents: &mut Vec<Document>) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "csv") {
        for row in csv::rows(contents).into_iter().skip(1) {
            let [record, text] = row.fields.as_slice() else {
                return Err(wrong(path, row.line, "two columns, mr and ref", format!("{} columns", row.fields.len())));
            };
            pair(path, row.line, record, text, task, documents)?;
        }
        return Ok(());
    }
    for (number, line) in contents.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let (record, text) = line
            .split_once('\t')
            .ok_or_else(|| wrong(path, number + 1, "a record, a tab and a text", "no tab".to_owned()))?;
        pair(path, number + 1, record, text, task, documents)?;
    }
    Ok(())
}

fn pair(path: &Path, line: usize, record: &str, text: &str, task: Task, documents: &mut Vec<Document>) -> Result<()> {
    // The official texts hold stray line breaks and double spaces.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Err(wrong(path, line, "a text after the record", "an empty text".to_owned()));
    }
    let read =
        Record::parse(record).map_err(|found| wrong(path, line, "a record such as `name[..], food[..]`", found))?;
    documents.push(document(&read, &text, &format!("{record}\t{text}"), task));
    Ok(())
}

fn wrong(path: &Path, line: usize, expected: &'static str, found: String) -> DataError {
    DataError::Line { path: path.to_owned(), line, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "name[The \"Eagle\"], food[French], customer rating[5 out of 5]\tThe Eagle is French.";

    #[test]
    fn both_ways() {
        let (record, text) = LINE.split_once('\t').unwrap();
        let record = Record::parse(record).unwrap();
        let to_text = document(&record, text, LINE, Task::RecordToText);
        assert_eq!(to_text.prompt, "Record: name = The \"Eagle\"; food = French; customer rating = 5 out of 5\nText: ");
        assert_eq!(to_text.text, text);
        let to_json = document(&record, text, LINE, Task::TextToJson);
        assert_eq!(to_json.prompt, "Text: The Eagle is French.\nJSON: ");
        assert_eq!(to_json.text, r#"{"name":"The \"Eagle\"","food":"French","customer rating":"5 out of 5"}"#);
        let either = document(&record, text, LINE, Task::Both);
        assert!(either == to_text || either == to_json);
    }

    #[test]
    fn fields_come_in_the_fixed_order() {
        let record = Record::parse("near[A], name[B]").unwrap();
        assert_eq!(record.listed(), "name = B; near = A");
        for (bad, said) in
            [("name[A", "]"), ("colour[red]", "colour"), ("", "empty"), ("name[A], name[B]", "twice"), ("x", "x")]
        {
            assert!(Record::parse(bad).unwrap_err().contains(said), "{bad}");
        }
    }

    #[test]
    fn the_two_forms_give_the_same_documents() {
        let (mut tsv, mut csv) = (Vec::new(), Vec::new());
        read(Path::new("a.tsv"), &format!("{LINE}\n"), Task::Both, &mut tsv).unwrap();
        let quoted = LINE.replace('"', "\"\"").replace('\t', "\",\"");
        read(Path::new("a.csv"), &format!("mr,ref\r\n\"{quoted}\"\r\n"), Task::Both, &mut csv).unwrap();
        assert_eq!(tsv, csv);
        let error =
            read(Path::new("a.tsv"), &format!("{LINE}\nname[A]\n"), Task::Both, &mut tsv).unwrap_err().to_string();
        assert!(error.contains("a.tsv line 2"), "{error}");
    }
}
