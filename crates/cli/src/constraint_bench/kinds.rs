//! The constraints that are measured, one or two of each kind.

use anyhow::{Context, Result};
use lldm::control::Constraints;
use lldm::control::constraint::{Banned, Case, Choice, JsonSchema, Keywords, Match, Regex, Template, Words};

/// A constraint with the name of its kind.
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) constraints: Constraints,
}

const SMALL_SCHEMA: &str = r#"{"type": "object", "required": ["name", "age"], "additionalProperties": false, "properties":
    {"name": {"type": "string"}, "age": {"type": "integer"}}}"#;
/// Eight properties, an array of strings and one of objects.
const LARGE_SCHEMA: &str = r#"{"type": "object", "required": ["name", "age", "email", "status", "tags", "price", "items", "note"],
    "additionalProperties": false, "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
    "email": {"type": "string"}, "status": {"enum": ["new", "open", "closed", "lost"]},
    "tags": {"type": "array", "items": {"type": "string"}}, "price": {"type": "number"},
    "items": {"type": "array", "items": {"type": "object", "required": ["id", "size"], "additionalProperties": false,
    "properties": {"id": {"type": "integer"}, "size": {"type": "string"}}}}, "note": {"type": "string"}}}"#;
/// The beginning of the names of those that have a number of states: a text of letters and spaces of up to so many.
const COUNTED: &str = "counted_";

/// All kinds; `states` says how many states those have that can have any number.
pub(crate) fn kinds(states: &[usize]) -> Result<Vec<Kind>> {
    let schema = |text: &str| -> Result<JsonSchema> {
        Ok(JsonSchema::new(serde_json::from_str(text).context("a schema of the bench")?))
    };
    let regex = |text: &str| Regex(text.to_string());
    let banned = ["dark", "cold", "storm", "night", "blood"].map(String::from).to_vec();
    let some = |name: &str, constraints: Constraints| Kind { name: name.to_string(), constraints };
    let new = Constraints::new;
    let mut kinds = vec![
        some("choice", new().with(Choice(["yes", "no", "perhaps", "never"].map(String::from).to_vec()))),
        some("keywords_2", new().with(Keywords::all(["spaceship", "ocean"]))),
        some("keywords_4", new().with(Keywords::all(["spaceship", "ocean", "road", "light"]))),
        some("banned", new().with(Banned { words: banned, matches: Match::Word, case: Case::Any })),
        some("regex", new().with(regex("[A-Z][a-z]+, [0-9]{4}-[0-9]{2}-[0-9]{2}(: [a-z ]+)?\\."))),
        some("template", new().with(Template("Dear ____{2,20},\n____\nYours, ____{2,20}.".to_string()))),
        some("length", new().with(Words { from: 60, to: Some(100) })),
        some("json_small", new().with(schema(SMALL_SCHEMA)?)),
        some("json_large", new().with(schema(LARGE_SCHEMA)?)),
    ];
    for states in states {
        // The empty text is one of the states, and one of the texts.
        let text = format!("[a-zA-Z ]{{0,{}}}", states.saturating_sub(1));
        kinds.push(some(&format!("{COUNTED}{states}"), new().with(regex(&text))));
    }
    Ok(kinds)
}

/// What the names of kinds begin with.
pub(crate) fn names() -> Result<Vec<String>> {
    Ok(kinds(&[])?.into_iter().map(|kind| kind.name).chain([COUNTED.to_string()]).collect())
}

#[cfg(test)]
mod tests {
    use lldm::control::automaton::synthetic_tokens;
    use lldm::control::{Joint, Vocabulary};

    use super::*;

    #[test]
    fn kinds_compile_and_counted_ones_have_the_states_that_their_names_say() {
        let vocabulary = Vocabulary::new(&synthetic_tokens(3000, 1), &[1]);
        let kinds = kinds(&[64, 200]).expect("they are made");
        for Kind { name, constraints } in kinds {
            let compiled = constraints.compile(&vocabulary, Joint::None).expect("it compiles");
            let states = name.strip_prefix(COUNTED).map_or(compiled.figures().states, |n| n.parse().expect("a number"));
            assert_eq!(compiled.figures().states, states, "{name}");
        }
    }
}
