//! JSON Schema against what is known to be valid: cases written here, and the official test suite where it is at hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use lldm_control::constraint::{JsonSchema, Language};
use lldm_control::{Budget, ByteDfa, Error};
use serde_json::{Value, json};

fn compiled(schema: Value) -> ByteDfa {
    JsonSchema::new(schema.clone())
        .automaton(&Budget::default().meter())
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

#[track_caller]
fn check(schema: Value, valid: &[&str], invalid: &[&str]) {
    let dfa = compiled(schema.clone());
    for text in valid {
        assert!(dfa.accepts(text.as_bytes()), "{text} is valid under {schema}");
    }
    for text in invalid {
        assert!(!dfa.accepts(text.as_bytes()), "{text} is not valid under {schema}");
    }
}

#[test]
fn texts_are_json() {
    check(
        json!({}),
        &[
            "null",
            " true ",
            "-0.5e+3",
            "\"a\\n\\\"\u{e9}\"",
            "[]",
            "[ 1 ,\n2]",
            "{}",
            "{\"a\": [{\"b\": {}}]}",
            "\"\\u001f\"",
        ],
        &[
            "", "nul", "01", "1.", ".5", "[1,]", "[,1]", "{,}", "{\"a\"}", "{a: 1}", "\"\n\"", "\"\\x\"", "1 2",
            "[1 2]", "\"a",
        ],
    );
}

#[test]
fn numbers_between_bounds() {
    for (schema, from, to) in [
        (json!({"type": "number", "minimum": -3.25, "maximum": 12}), -3.25, 12.0),
        (json!({"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 0}), -0.5, 0.0),
        (json!({"type": "number", "minimum": 0.125, "exclusiveMaximum": 100.5}), 0.125, 100.5),
        (json!({"type": "number", "maximum": -7}), f64::NEG_INFINITY, -7.0),
        (json!({"type": "number", "exclusiveMinimum": 99.99}), 99.99, f64::INFINITY),
    ] {
        let dfa = compiled(schema.clone());
        let open = |key: &str| schema.get(key).is_some();
        for at in -13_000..13_000 {
            let x = f64::from(at) / 80.0;
            let valid = (if open("exclusiveMinimum") { x > from } else { x >= from })
                && (if open("exclusiveMaximum") { x < to } else { x <= to });
            assert_eq!(dfa.accepts(x.to_string().as_bytes()), valid, "{x} under {schema}");
            assert_eq!(dfa.accepts(format!("{x:.6}").as_bytes()), valid, "{x:.6} under {schema}");
        }
    }
    check(
        json!({"type": "integer", "minimum": 0, "maximum": 12}),
        &["0", "-0", "12", "7.00"],
        &["-1", "13", "7.5", "012", "1e0"],
    );
    check(
        json!({"multipleOf": 0.25, "type": "number"}),
        &["0", "-1.75", "2.5", "3.250"],
        &["0.1", "1.125", "2.250001"],
    );
    check(json!({"multipleOf": 12, "type": "integer"}), &["0", "-24", "144.0"], &["1", "14", "12.5"]);
}

/// A number whose exponent has three digits may be one that no reader holds: `9e412` is JSON, but serde_json refuses it.
#[test]
fn exponents_are_short() {
    let valid = ["1e5", "-2.5E-07", "0e0", "9e+99"];
    check(json!({ "type": "number" }), &valid, &["1e", "1e412", "9e00412", "1e-100"]);
    assert!(valid.iter().all(|text| serde_json::from_str::<f64>(text).unwrap().is_finite()));
    check(json!(true), &["[1e5]"], &["[1e412]"]);
}

#[test]
fn strings_by_pattern_and_length() {
    check(
        json!({"type": "string", "minLength": 2, "maxLength": 3}),
        &["\"ab\"", "\"é\\n\"", "\"\\\\\\\"\\u0007\""],
        &["\"a\"", "\"abcd\"", "ab"],
    );
    check(
        json!({"type": "string", "pattern": "^a\\d+$"}),
        &["\"a1\"", "\"a123\""],
        &["\"a\"", "\"ba1\"", "\"a1 \"", "\"a\u{661}\""],
    );
    check(json!({"type": "string", "pattern": "\\n"}), &["\"a\\nb\"", "\"\\u000a\""], &["\"ab\"", "\"\\\\n\""]);
    check(json!({"pattern": "b", "maxLength": 1}), &["\"b\"", "3", "[]"], &["\"ab\"", "\"a\""]);
}

#[test]
fn arrays_and_objects() {
    check(
        json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4}),
        &["[1]", "[1, \"a\"]", "[1,\"a\",true,false]"],
        &["[]", "[\"a\"]", "[1, 2]", "[1,\"a\",1]", "[1,\"a\",true,true,true]"],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": true}, "required": ["b"], "additionalProperties": false}),
        &[
            "{\"b\":\"\"}",
            "{ \"a\" : 1 , \"b\" : \"x\" }",
            "{\"b\":\"x\",\"c\":[{}]}",
            "{\"a\":1,\"b\":\"\",\"c\":null}",
        ],
        &[
            "{}",
            "{\"a\":1}",
            "{\"b\":1}",
            "{\"b\":\"\",\"d\":1}",
            "{\"a\":1 \"b\":\"\"}",
            "{,\"b\":\"\"}",
            "{\"b\":\"\",}",
        ],
    );
    check(
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["z"], "additionalProperties": {"type": "null"}}),
        &["{\"a\":1,\"z\":null,\"q\":null}", "{\"z\":null}"],
        &["{\"z\":1}", "{\"a\":null,\"z\":null}", "{\"a\":1}", "{\"z\":null,\"a\":2}"],
    );
}

#[test]
fn parts_are_joined() {
    check(
        json!({"enum": [1, "a\"b", null, [1, {"x": 2}]]}),
        &["1", "1.0", "\"a\\\"b\"", "null", "[1,{\"x\":2}]"],
        &["2", "\"a\"", "[1]"],
    );
    check(json!({"type": "string", "enum": ["a", 1]}), &["\"a\""], &["1"]);
    check(json!({"anyOf": [{"type": "integer"}, {"maximum": 2}]}), &["7", "1.5", "\"text\""], &["2.5"]);
    check(json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}), &["1", "2.5", "\"text\""], &["3", "1.5"]);
    let shape = |kind: &str, key: &str| json!({"type": "object", "properties": {"kind": {"const": kind}, key: {"type": "number"}}, "required": ["kind", key]});
    check(
        json!({"oneOf": [shape("circle", "radius"), shape("square", "side")]}),
        &["{\"kind\":\"circle\",\"radius\":1}", "{\"kind\":\"square\",\"side\":2,\"more\":[]}"],
        &["{\"kind\":\"circle\",\"side\":1}", "{\"kind\":\"circle\"}", "{\"kind\":\"oval\",\"radius\":1}"],
    );
    check(
        json!({"allOf": [{"required": ["b"]}, {"properties": {"b": {"type": "integer"}, "a": {"type": "string"}}}], "type": "object"}),
        &["{\"b\":1}", "{\"b\":1,\"a\":\"\"}"],
        &["{}", "{\"b\":\"\"}", "{\"b\":1,\"a\":2}"],
    );
    check(
        json!({"$defs": {"tree": {"type": "object", "properties": {"value": {"type": "integer"}, "left": {"$ref": "#/$defs/tree"}}, "required": ["value"], "additionalProperties": false}}, "$ref": "#/$defs/tree"}),
        &["{\"value\":1}", "{\"value\":1,\"left\":{\"value\":2,\"left\":{\"value\":3}}}"],
        &["{\"left\":{\"value\":1}}", "{\"value\":1,\"left\":{}}"],
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    let error = |schema: Value| JsonSchema::new(schema).automaton(&Budget::default().meter()).unwrap_err().to_string();
    for (schema, expected) in [
        (
            json!({"properties": {"a": {"not": {}}}}),
            "the schema cannot be used at #/properties/a/not: the keyword is not supported",
        ),
        (json!({"type": "strin"}), "the schema cannot be used at #/type: there is no type `strin`"),
        (
            json!({"$ref": "other.json"}),
            "the schema cannot be used at #/$ref: `other.json` is no place in this document",
        ),
        (json!({"$ref": "#"}), "the schema cannot be used at #/$ref: `#` leads back to itself"),
        (
            json!({"pattern": "(?=a)"}),
            "the schema cannot be used at #/pattern: `(?=a)`: look-around, including look-ahead and look-behind, is not supported",
        ),
        (json!({"minLength": -1}), "the schema cannot be used at #/minLength: it is no whole number"),
        (json!([]), "the schema cannot be used at #: it is neither an object nor true or false"),
        (json!(false), "no text satisfies the constraint: no value is valid under the schema"),
        (
            json!({"type": "integer", "minimum": 2, "maximum": 1}),
            "no text satisfies the constraint: no value is valid under the schema",
        ),
    ] {
        assert_eq!(error(schema), expected);
    }
    let (_, cut) = JsonSchema::new(json!({"items": {}})).compile(&Budget::default().meter()).unwrap();
    assert_eq!(cut, Some(4));
    let (_, cut) = JsonSchema::new(json!({"type": "array", "items": {"type": "null"}}))
        .compile(&Budget::default().meter())
        .unwrap();
    assert_eq!(cut, None);
}

/// The keys of a schema in the order of the document.
fn order(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| order(item, names)),
        Value::Object(map) => {
            for (name, value) in map {
                names.push(name.clone());
                if let ("required", Value::Array(required)) = (name.as_str(), value) {
                    names.extend(required.iter().filter_map(Value::as_str).map(str::to_string));
                }
                order(value, names);
            }
        }
        _ => {}
    }
}

/// The same value with its properties in that order, others behind: the one order that the automaton knows.
fn ordered(value: &Value, names: &[String]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| ordered(item, names)).collect(),
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().map(|(name, value)| (name.clone(), ordered(value, names))).collect();
            members.sort_by_key(|(name, _)| names.iter().position(|known| known == name).unwrap_or(usize::MAX));
            Value::Object(members.into_iter().collect())
        }
        scalar => scalar.clone(),
    }
}

/// Every case of draft 2020-12 whose schema compiles: valid instances are accepted, invalid ones refused.
#[test]
fn the_official_suite() {
    let Some(folder) = std::env::var_os("LLDM_JSON_SCHEMA_TESTS").map(PathBuf::from) else {
        println!(
            "skipped: LLDM_JSON_SCHEMA_TESTS does not name the folder of the JSON Schema test suite (draft2020-12)"
        );
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let (mut refusals, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    let mut table = BTreeMap::<String, [usize; 2]>::new();
    for path in files {
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let groups: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for group in groups.as_array().unwrap() {
            let mut names = Vec::new();
            order(&group["schema"], &mut names);
            let counts = table.entry(name.clone()).or_default();
            counts[1] += 1;
            let result = JsonSchema::new(group["schema"].clone()).automaton(&Budget::default().meter());
            let dfa = match result {
                Ok(dfa) => Some(dfa),
                Err(Error::Empty { .. }) => None,
                Err(error) => {
                    let message = error.to_string();
                    let place = message.split(" at ").nth(1).unwrap_or(&message).split(": ").next().unwrap();
                    *refusals.entry(place.rsplit('/').next().unwrap().to_string()).or_default() += 1;
                    continue;
                }
            };
            counts[0] += 1;
            for test in group["tests"].as_array().unwrap() {
                let text = ordered(&test["data"], &names).to_string();
                let accepted = dfa.as_ref().is_some_and(|dfa| dfa.accepts(text.as_bytes()));
                if accepted != test["valid"].as_bool().unwrap() {
                    wrong.push(format!("{name}, {}, {}: {text} {accepted}", group["description"], test["description"]));
                }
            }
        }
    }
    for (name, [compiled, all]) in &table {
        println!("{name:<24} {compiled} of {all}");
    }
    println!("refused: {refusals:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
