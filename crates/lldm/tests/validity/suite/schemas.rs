//! Three hundred schemas, written by kind and difficulty, judged by the crate `jsonschema`.
//!
//! A line of `schemas/KIND.txt` holds the difficulty and the schema, or `refused:PLACE` and a schema that is to be refused there.

use jsonschema::Validator;
use lldm::control::constraint::JsonSchema;
use serde_json::Value;

use super::case::{Case, Demand, Kind};

const FILES: [(&str, &str); 10] = [
    ("types", include_str!("schemas/types.txt")),
    ("strings", include_str!("schemas/strings.txt")),
    ("numbers", include_str!("schemas/numbers.txt")),
    ("values", include_str!("schemas/values.txt")),
    ("arrays", include_str!("schemas/arrays.txt")),
    ("objects", include_str!("schemas/objects.txt")),
    ("further", include_str!("schemas/further.txt")),
    ("combined", include_str!("schemas/combined.txt")),
    ("references", include_str!("schemas/references.txt")),
    ("calls", include_str!("schemas/calls.txt")),
];

/// The lines, each with the name of its file: the kinds take turns, so that any stretch holds all.
pub(crate) fn written_schemas() -> Vec<(&'static str, &'static str)> {
    let lines = |text: &'static str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
    let files: Vec<_> = FILES.iter().map(|(name, text)| (*name, lines(text))).collect();
    let longest = files.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
    let row = |at: usize| files.iter().filter_map(move |(name, lines)| lines.get(at).map(|line| (*name, *line)));
    (0..longest).flat_map(row).collect()
}

/// The schema of that number.
pub(crate) fn case(index: usize) -> Case {
    let (kind, line) = written_schemas()[index];
    let (level, schema) = line.split_once(' ').unwrap_or_else(|| panic!("{kind}: `{line}` has no schema"));
    let refused = level.strip_prefix("refused:").map(str::to_string);
    assert!(refused.is_some() || ["easy", "medium", "hard"].contains(&level), "{kind}: {level}");
    let schema: Value = serde_json::from_str(schema).unwrap_or_else(|error| panic!("{kind}: {schema}: {error}"));
    // What is not to be compiled is not judged, and what it refers to not looked for.
    let judge = refused.is_none().then(|| validator(&schema));
    let demand = Demand {
        what: format!("schema ({kind}, {level}) {schema}"),
        add: Box::new(move |all| all.with(JsonSchema::new(schema.clone()))),
        judge: Box::new(move |text| {
            let value = serde_json::from_str::<Value>(text);
            value.is_ok_and(|value| judge.as_ref().is_some_and(|judge| judge.is_valid(&value)))
        }),
        part: None,
    };
    Case { refused, ..Case::new(Kind::Schemas, vec![demand]) }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}
