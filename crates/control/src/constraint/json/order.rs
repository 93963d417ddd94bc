//! What a whole document of JSON Schema says before any part of it is compiled: the order of its properties, and how deep it goes.

use serde_json::Value;

use super::schema::HANDLED;

/// The names of properties in the order of the document, which all parts of a schema that are joined must share.
#[derive(Default)]
pub(super) struct Order {
    pub(super) names: Vec<String>,
    /// Whether parts are joined at all.
    pub(super) combined: bool,
}

impl Order {
    /// Takes up the names of a schema and of all within it.
    pub(super) fn collect(&mut self, schema: &Value) {
        let Value::Object(map) = schema else { return };
        let joins = ["anyOf", "oneOf", "allOf", "enum", "const", "$ref"];
        let asserts = map.keys().filter(|key| HANDLED.contains(&key.as_str())).count();
        let joined = joins.iter().any(|key| map.contains_key(*key));
        self.combined |= ["anyOf", "oneOf", "allOf"].iter().any(|key| map.contains_key(*key)) || joined && asserts > 1;
        for (key, value) in map {
            match (key.as_str(), value) {
                ("properties", Value::Object(properties)) => {
                    for (name, schema) in properties {
                        self.name(name);
                        self.collect(schema);
                    }
                }
                ("$defs" | "definitions", Value::Object(schemas)) => schemas.values().for_each(|one| self.collect(one)),
                ("required", Value::Array(names)) => {
                    names.iter().filter_map(Value::as_str).for_each(|one| self.name(one))
                }
                ("items" | "additionalProperties", schema) => self.collect(schema),
                ("prefixItems" | "anyOf" | "oneOf" | "allOf", Value::Array(schemas)) => {
                    schemas.iter().for_each(|schema| self.collect(schema));
                }
                ("const" | "enum", value) => self.keys(value),
                _ => {}
            }
        }
    }

    /// The keys of objects in a value.
    fn keys(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.keys(item)),
            Value::Object(map) => {
                for (name, value) in map {
                    self.name(name);
                    self.keys(value);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, name: &str) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_string());
        }
    }
}

/// How deep arrays and objects stand within one another in what a schema spells out.
pub(super) fn spelled_depth(schema: &Value) -> u32 {
    match schema {
        Value::Array(items) => items.iter().map(spelled_depth).max().unwrap_or(0),
        Value::Object(map) => {
            let nests = ["properties", "additionalProperties", "items", "prefixItems"];
            map.iter()
                .map(|(key, value)| {
                    let inner = match (key.as_str(), value) {
                        ("properties", Value::Object(map)) => map.values().map(spelled_depth).max().unwrap_or(0),
                        ("const" | "enum", value) => return value_depth(value),
                        (_, value) => spelled_depth(value),
                    };
                    inner + u32::from(nests.contains(&key.as_str()))
                })
                .max()
                .unwrap_or(0)
        }
        _ => 0,
    }
}

fn value_depth(value: &Value) -> u32 {
    match value {
        Value::Array(items) => 1 + items.iter().map(value_depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(value_depth).max().unwrap_or(0),
        _ => 0,
    }
}
