//! JSON Schema, draft 2020-12, as a language of JSON texts.
//!
//! Arrays and objects may nest to a bounded depth, in all parts of a schema alike; within it the texts are exactly those of the valid
//! values, in one order of properties (that in which the document names them first, then others) and with any white space. Strings
//! and numbers are spelled as in `string` and `number`. Keywords that only describe (`title`, `format`, ...) are passed over; any
//! other keyword that is not handled here is refused by its name, never dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::list::{after_comma, bracketed, space};
use super::number::{Bound, Decimal, NumberSpec, can_be_divisor, numbers};
use super::order::{Order, spelled_depth};
use super::pattern::anywhere;
use super::reference::resolve;
use super::string::{letters, quoted};
use crate::automaton::{ByteDfa, Expression, Machine, regex};
use crate::budget::Meter;
use crate::constraint::Language;
use crate::error::{Error, Result};

/// Arrays and objects within one another, where the schema itself does not need more.
const DEPTH: u32 = 4;

/// Keywords that say nothing of validity.
const PASSED: [&str; 18] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "$anchor",
    "$vocabulary",
];

/// Keywords that are handled.
pub(super) const HANDLED: [&str; 22] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
];

/// The types of JSON; whole numbers are numbers.
const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// The text is JSON that is valid under this schema.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonSchema {
    /// The schema.
    pub schema: Value,
    /// The most arrays and objects within one another; more where the schema spells out more.
    pub depth: u32,
}

impl JsonSchema {
    /// Under the usual depth.
    pub fn new(schema: Value) -> Self {
        Self { schema, depth: DEPTH }
    }

    /// The automaton, and the depth of nesting at which the language was cut, if it was.
    ///
    /// # Errors
    /// The keyword that cannot be used, and the meter's.
    pub fn compile(&self, meter: &Meter) -> Result<(ByteDfa, Option<u32>)> {
        let mut order = Order::default();
        order.collect(&self.schema);
        let depth = self.depth.max(spelled_depth(&self.schema));
        let mut compiler = Compiler {
            document: &self.schema,
            order: order.combined.then_some(order.names),
            meter,
            cut: false,
            known: HashMap::new(),
            any: BTreeMap::new(),
            open: Vec::new(),
        };
        let value = compiler.value(&self.schema, depth, "#")?;
        let whole = Expression::Sequence(vec![space(), value, space()]);
        let dfa = whole.compile(meter).map_err(|error| match error {
            Error::Empty { .. } => Error::Empty { message: "no value is valid under the schema".to_string() },
            error => error,
        })?;
        Ok((dfa, compiler.cut.then_some(depth)))
    }
}

impl Language for JsonSchema {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        Ok(self.compile(meter)?.0)
    }

    fn bounded(&self, meter: &Meter) -> Result<(ByteDfa, Option<u32>)> {
        self.compile(meter)
    }
}

struct Compiler<'a> {
    document: &'a Value,
    /// Shared by all objects, where parts are joined.
    order: Option<Vec<String>>,
    meter: &'a Meter,
    cut: bool,
    /// Subschemas by their place in memory and the depth that is left.
    known: HashMap<(*const Value, u32), Expression>,
    /// Any value, by the depth that is left.
    any: BTreeMap<u32, Expression>,
    /// References that are being followed.
    open: Vec<(*const Value, u32)>,
}

impl<'a> Compiler<'a> {
    /// The values of a schema, with so many arrays and objects within one another.
    fn value(&mut self, schema: &'a Value, room: u32, path: &str) -> Result<Expression> {
        let key = (std::ptr::from_ref(schema), room);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let found = match schema {
            Value::Bool(true) => self.any(room)?,
            Value::Bool(false) => Expression::never(),
            Value::Object(map) => self.object_schema(map, room, path)?,
            _ => return Err(refused(path, "it is neither an object nor true or false")),
        };
        let found = self.shared(found)?;
        self.known.insert(key, found.clone());
        Ok(found)
    }

    /// The same as a table, which is smaller than what it was built of.
    fn shared(&self, expression: Expression) -> Result<Expression> {
        match expression.compile(self.meter) {
            Ok(dfa) => Ok(Expression::Automaton(Arc::new(dfa))),
            Err(Error::Empty { .. }) => Ok(Expression::never()),
            Err(error) => Err(error),
        }
    }

    fn object_schema(&mut self, map: &'a Map<String, Value>, room: u32, path: &str) -> Result<Expression> {
        if let Some(dialect) = map.get("$schema").filter(|dialect| !dialect.as_str().is_some_and(is_known_dialect)) {
            return Err(refused(&format!("{path}/$schema"), &format!("{dialect} is no dialect that is known here")));
        }
        for (key, value) in map {
            let harmless = PASSED.contains(&key.as_str()) && !(key == "$id" && path != "#");
            let unasked = key == "uniqueItems" && value == &Value::Bool(false);
            if !harmless && !unasked && !HANDLED.contains(&key.as_str()) {
                return Err(refused(&format!("{path}/{key}"), "the keyword is not supported"));
            }
        }
        let mut parts = Vec::new();
        let joins = ["anyOf", "oneOf", "allOf", "enum", "const", "$ref"];
        if map.keys().any(|key| HANDLED.contains(&key.as_str()) && !joins.contains(&key.as_str())) {
            parts.push(self.typed(map, room, path)?);
        }
        if let Some(value) = map.get("const") {
            parts.push(self.literal(value, room)?);
        }
        if let Some(values) = map.get("enum") {
            let Value::Array(values) = values else { return Err(refused(&format!("{path}/enum"), "it is no list")) };
            parts
                .push(Expression::Choice(values.iter().map(|value| self.literal(value, room)).collect::<Result<_>>()?));
        }
        if let Some(reference) = map.get("$ref") {
            parts.push(self.reference(reference, room, &format!("{path}/$ref"))?);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            let Some(branches) = map.get(key) else { continue };
            let place = format!("{path}/{key}");
            let Value::Array(branches) = branches else { return Err(refused(&place, "it is no list")) };
            let branch = |(at, branch)| self.value(branch, room, &format!("{place}/{at}"));
            let branches: Vec<_> = branches.iter().enumerate().map(branch).collect::<Result<_>>()?;
            match key {
                "anyOf" => parts.push(Expression::Choice(branches)),
                "oneOf" => parts.push(self.exactly_one(&branches)?),
                _ => parts.extend(branches),
            }
        }
        match parts.len() {
            0 => self.any(room),
            1 => Ok(parts.remove(0)),
            _ => self.all(&parts),
        }
    }

    fn all(&self, parts: &[Expression]) -> Result<Expression> {
        let compiled: Result<Vec<_>> = parts.iter().map(|part| part.compile(self.meter)).collect();
        match compiled.and_then(|parts| ByteDfa::all(&parts, self.meter)) {
            Ok(dfa) => Ok(Expression::Automaton(Arc::new(dfa))),
            Err(Error::Empty { .. }) => Ok(Expression::never()),
            Err(error) => Err(error),
        }
    }

    fn exactly_one(&self, branches: &[Expression]) -> Result<Expression> {
        let mut compiled = Vec::new();
        for branch in branches {
            match branch.compile(self.meter) {
                Ok(dfa) => compiled.push(dfa),
                Err(Error::Empty { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match ByteDfa::explore(&ExactlyOne(&compiled), self.meter) {
            Ok(dfa) => Ok(Expression::Automaton(Arc::new(dfa))),
            Err(Error::Empty { .. }) => Ok(Expression::never()),
            Err(error) => Err(error),
        }
    }

    fn reference(&mut self, reference: &Value, room: u32, path: &str) -> Result<Expression> {
        let text = reference.as_str().ok_or_else(|| refused(path, "it is no text"))?;
        let target = resolve(self.document, text)
            .ok_or_else(|| refused(path, &format!("`{text}` is no place in this document")))?;
        let key = (std::ptr::from_ref(target), room);
        if self.open.contains(&key) {
            return Err(refused(path, &format!("`{text}` leads back to itself")));
        }
        self.open.push(key);
        let found = self.value(target, room, text);
        self.open.pop();
        found
    }

    /// Any value.
    fn any(&mut self, room: u32) -> Result<Expression> {
        if let Some(known) = self.any.get(&room) {
            return Ok(known.clone());
        }
        let scalars = ["null", "boolean", "number", "string"];
        let empty = Map::new();
        let mut kinds: Vec<_> =
            scalars.iter().map(|kind| self.scalar(kind, &empty, false, "#")).collect::<Result<_>>()?;
        if room == 0 {
            self.cut = true;
        } else {
            let inner = self.any(room - 1)?;
            let key = quoted(&letters(0, None, self.meter)?, self.meter)?;
            kinds.push(bracketed(["[", "]"], &after_comma(inner.clone()).repeated(0, None), self.meter)?);
            kinds.push(bracketed(["{", "}"], &after_comma(member(key, inner)).repeated(0, None), self.meter)?);
        }
        let any = self.shared(Expression::Choice(kinds))?;
        self.any.insert(room, any.clone());
        Ok(any)
    }

    /// The values of the types that a schema allows, each under the keywords that speak of it.
    fn typed(&mut self, map: &'a Map<String, Value>, room: u32, path: &str) -> Result<Expression> {
        let named: Vec<&str> = match map.get("type") {
            None => TYPES.to_vec(),
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(refused(&format!("{path}/type"), "it is neither a name nor a list of names")),
        };
        if let Some(wrong) = named.iter().find(|name| **name != "integer" && !TYPES.contains(name)) {
            return Err(refused(&format!("{path}/type"), &format!("there is no type `{wrong}`")));
        }
        let mut kinds = Vec::new();
        for kind in named {
            kinds.push(match kind {
                "array" => self.array(map, room, path)?,
                "object" => self.object(map, room, path)?,
                "integer" => self.scalar("number", map, true, path)?,
                _ => self.scalar(kind, map, false, path)?,
            });
        }
        Ok(Expression::Choice(kinds))
    }

    fn scalar(&self, kind: &str, map: &Map<String, Value>, integer: bool, path: &str) -> Result<Expression> {
        match kind {
            "null" => Ok(Expression::text("null")),
            "boolean" => Ok(Expression::Choice(vec![Expression::text("true"), Expression::text("false")])),
            "number" => {
                let spec = number_spec(map, integer, path)?;
                // An exponent gives a value a second spelling, which joined parts would not share.
                match numbers(&spec, self.order.is_none(), self.meter) {
                    Ok(dfa) => Ok(Expression::Automaton(Arc::new(dfa))),
                    Err(Error::Empty { .. }) => Ok(Expression::never()),
                    Err(error) => Err(error),
                }
            }
            _ => self.string(map, path),
        }
    }

    fn string(&self, map: &Map<String, Value>, path: &str) -> Result<Expression> {
        let (from, to) = (size(map, "minLength", path)?.unwrap_or(0), size(map, "maxLength", path)?);
        if to.is_some_and(|to| to < from) {
            return Ok(Expression::never());
        }
        let mut values = letters(from, to, self.meter)?;
        if let Some(pattern) = map.get("pattern") {
            let place = format!("{path}/pattern");
            let pattern = pattern.as_str().ok_or_else(|| refused(&place, "it is no text"))?;
            let found = regex(&anywhere(pattern), self.meter);
            let found = found.map_err(|error| match error {
                Error::Regex { message, .. } => refused(&place, &format!("`{pattern}`: {message}")),
                error => error,
            });
            values = match found.and_then(|found| ByteDfa::all(&[values, found], self.meter)) {
                Err(Error::Empty { .. }) => return Ok(Expression::never()),
                values => values?,
            };
        }
        quoted(&values, self.meter)
    }

    fn array(&mut self, map: &'a Map<String, Value>, room: u32, path: &str) -> Result<Expression> {
        let Some(inner) = room.checked_sub(1) else {
            self.cut = true;
            return Ok(Expression::never());
        };
        let (from, to) = (size(map, "minItems", path)?.unwrap_or(0), size(map, "maxItems", path)?);
        if to.is_some_and(|to| to < from) {
            return Ok(Expression::never());
        }
        let mut first = Vec::new();
        if let Some(items) = map.get("prefixItems") {
            let place = format!("{path}/prefixItems");
            let Value::Array(items) = items else { return Err(refused(&place, "it is no list")) };
            for (at, item) in items.iter().enumerate() {
                first.push(self.value(item, inner, &format!("{place}/{at}"))?);
            }
        }
        if let Some(to) = to {
            first.truncate(usize::try_from(to).unwrap_or(usize::MAX));
        }
        let count = first.len() as u64;
        let rest = match map.get("items") {
            Some(items) => self.value(items, inner, &format!("{path}/items"))?,
            None => self.any(inner)?,
        };
        let many = |count: u64| u32::try_from(count).map_err(|_| refused(path, "it asks for too many items"));
        let least = many(from.saturating_sub(count))?;
        let most = to.map(|to| many(to - count)).transpose()?;
        let mut parts = after_comma(rest).repeated(least, most);
        for (at, item) in first.into_iter().enumerate().rev() {
            parts = after_comma(item).then(parts);
            if at as u64 >= from {
                parts = parts.optional();
            }
        }
        bracketed(["[", "]"], &parts, self.meter)
    }

    fn object(&mut self, map: &'a Map<String, Value>, room: u32, path: &str) -> Result<Expression> {
        let Some(inner) = room.checked_sub(1) else {
            self.cut = true;
            return Ok(Expression::never());
        };
        let none = Map::new();
        let properties = match map.get("properties") {
            None => None,
            Some(Value::Object(properties)) => Some(properties),
            Some(_) => return Err(refused(&format!("{path}/properties"), "it is no object")),
        };
        let required: Vec<&str> = match map.get("required") {
            None => Vec::new(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(refused(&format!("{path}/required"), "it is no list")),
        };
        let further = match map.get("additionalProperties") {
            Some(schema) => self.value(schema, inner, &format!("{path}/additionalProperties"))?,
            None => self.any(inner)?,
        };
        let mut names: Vec<String> = self.order.clone().unwrap_or_default();
        let own = properties.unwrap_or(&none).keys().map(String::as_str).chain(required.iter().copied());
        for name in own {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_string());
            }
        }
        let mut parts = Vec::new();
        for name in &names {
            let value = match properties.and_then(|properties| properties.get(name)) {
                Some(schema) => self.value(schema, inner, &format!("{path}/properties/{name}"))?,
                None => further.clone(),
            };
            let one = after_comma(member(Expression::text(&Value::from(name.as_str()).to_string()), value));
            parts.push(if required.contains(&name.as_str()) { one } else { one.optional() });
        }
        if let Some(key) = self.other_keys(&names)? {
            parts.push(after_comma(member(key, further)).repeated(0, None));
        }
        bracketed(["{", "}"], &Expression::Sequence(parts), self.meter)
    }

    /// Keys that are none of these.
    fn other_keys(&self, names: &[String]) -> Result<Option<Expression>> {
        let all = letters(0, None, self.meter)?;
        if names.is_empty() {
            return quoted(&all, self.meter).map(Some);
        }
        let named = Expression::Choice(names.iter().map(|name| Expression::text(name)).collect());
        let others = named.compile(self.meter)?.complement(self.meter)?;
        quoted(&ByteDfa::all(&[all, others], self.meter)?, self.meter).map(Some)
    }

    /// Exactly this value, as it is written here; whole numbers with or without zeros behind a point.
    fn literal(&mut self, value: &Value, room: u32) -> Result<Expression> {
        let inner = room.checked_sub(1);
        match (value, inner) {
            (Value::Number(number), _) => {
                let Some(at) = Decimal::new(number) else { return Ok(Expression::never()) };
                let bound = Bound { at, exclusive: false };
                let spec = NumberSpec { least: Some(bound.clone()), most: Some(bound), ..NumberSpec::default() };
                Ok(Expression::Automaton(Arc::new(numbers(&spec, false, self.meter)?)))
            }
            (Value::Array(_) | Value::Object(_), None) => {
                self.cut = true;
                Ok(Expression::never())
            }
            (Value::Array(items), Some(inner)) => {
                let parts = items.iter().map(|item| self.literal(item, inner).map(after_comma));
                bracketed(["[", "]"], &Expression::Sequence(parts.collect::<Result<_>>()?), self.meter)
            }
            (Value::Object(map), Some(inner)) => {
                let place =
                    |name: &String| self.order.as_ref().and_then(|order| order.iter().position(|at| at == name));
                let mut members: Vec<_> = map.iter().collect();
                members.sort_by_key(|(name, _)| place(name));
                let mut parts = Vec::new();
                for (name, value) in members {
                    let key = Expression::text(&Value::from(name.as_str()).to_string());
                    parts.push(after_comma(member(key, self.literal(value, inner)?)));
                }
                bracketed(["{", "}"], &Expression::Sequence(parts), self.meter)
            }
            // As every serialiser writes it, and with other escapes.
            (Value::String(text), _) => quoted(&Expression::text(text).compile(self.meter)?, self.meter),
            (scalar, _) => Ok(Expression::text(&scalar.to_string())),
        }
    }
}

/// The drafts of JSON Schema itself, which agree on all that is handled here or have another form that is refused.
fn is_known_dialect(name: &str) -> bool {
    ["https://json-schema.org/draft", "http://json-schema.org/draft"].iter().any(|start| name.starts_with(start))
}

/// A key, a colon, a value.
fn member(key: Expression, value: Expression) -> Expression {
    Expression::Sequence(vec![key, space(), Expression::text(":"), space(), value])
}

fn number_spec(map: &Map<String, Value>, integer: bool, path: &str) -> Result<NumberSpec> {
    let number = |key: &str| match map.get(key) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Decimal::new(number)),
        Some(_) => Err(refused(&format!("{path}/{key}"), "it is no number")),
    };
    let bound = |key: &str, exclusive| Ok::<_, Error>(number(key)?.map(|at| Bound { at, exclusive }));
    let one = |inclusive: Option<Bound>, exclusive: Option<Bound>, keys: &str| match (inclusive, exclusive) {
        (Some(_), Some(_)) => Err(refused(path, &format!("{keys} are both given: leave one out"))),
        (one, other) => Ok(one.or(other)),
    };
    let least = one(bound("minimum", false)?, bound("exclusiveMinimum", true)?, "minimum and exclusiveMinimum")?;
    let most = one(bound("maximum", false)?, bound("exclusiveMaximum", true)?, "maximum and exclusiveMaximum")?;
    let multiple_of = number("multipleOf")?;
    if multiple_of.as_ref().is_some_and(|of| !can_be_divisor(of)) {
        return Err(refused(&format!("{path}/multipleOf"), "only numbers above 0 with few digits are supported"));
    }
    Ok(NumberSpec { integer, least, most, multiple_of })
}

/// A count; whole numbers may be written with a fraction of zeros.
fn size(map: &Map<String, Value>, key: &str, path: &str) -> Result<Option<u64>> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| value.as_f64().filter(|x| *x >= 0.0 && x.fract() == 0.0).map(|x| x as u64));
    whole.map(Some).ok_or_else(|| refused(&format!("{path}/{key}"), "it is no whole number"))
}

fn refused(place: &str, message: &str) -> Error {
    Error::Schema { place: place.to_string(), message: message.to_string() }
}

/// The texts that exactly one of several automata accepts.
struct ExactlyOne<'a>(&'a [ByteDfa]);

impl Machine for ExactlyOne<'_> {
    type State = Vec<Option<u32>>;

    fn start(&self) -> Vec<Option<u32>> {
        vec![Some(0); self.0.len()]
    }

    fn next(&self, state: &Vec<Option<u32>>, byte: u8) -> Option<Vec<Option<u32>>> {
        let step = |(dfa, state): (&ByteDfa, &Option<u32>)| state.and_then(|state| dfa.next(state, byte));
        let next: Vec<_> = self.0.iter().zip(state).map(step).collect();
        next.iter().any(Option::is_some).then_some(next)
    }

    fn accepts(&self, state: &Vec<Option<u32>>) -> bool {
        let accepting = |(dfa, state): &(&ByteDfa, &Option<u32>)| state.is_some_and(|state| dfa.is_accepting(state));
        self.0.iter().zip(state).filter(accepting).count() == 1
    }
}
