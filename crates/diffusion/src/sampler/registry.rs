//! The registry of samplers: each is described once, in its own file; help, documentation and configuration read it here.

use serde_json::{Map, Value};

use super::{Sampler, ancestral, first_hitting, left_to_right, low_confidence, threshold};
use crate::error::{Error, Result};

/// Every sampler, by name. A new sampler adds its file and one line here.
pub const ALL: &[Spec] =
    &[ancestral::SPEC, first_hitting::SPEC, low_confidence::SPEC, threshold::SPEC, left_to_right::SPEC];

/// The description of a sampler.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The name, as users write it.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// Builds it from a complete set of values.
    pub build: fn(Value) -> serde_json::Result<Box<dyn Sampler>>,
}

/// The description of a parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The name, as users write it.
    pub name: &'static str,
    /// Its type and range.
    pub kind: Kind,
    /// The default, as JSON.
    pub default: &'static str,
    /// What it means, with its unit.
    pub help: &'static str,
}

/// The type and range of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number.
    Integer {
        /// The smallest value.
        min: u64,
    },
    /// A real number.
    Number {
        /// The smallest value.
        min: f64,
        /// The largest value.
        max: f64,
    },
    /// One of some words.
    Choice(&'static [&'static str]),
}

/// The description of the sampler of that name.
pub fn find(name: &str) -> Result<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|spec| spec.name).collect();
        let hint = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", names.join(", ")),
        };
        Error::UnknownSampler { name: name.to_string(), hint }
    })
}

/// Builds a sampler; parameters that are not given have their defaults.
pub fn build(name: &str, given: &Map<String, Value>) -> Result<Box<dyn Sampler>> {
    let spec = find(name)?;
    let fail = |message: String| Error::SamplerParameters { sampler: name.to_string(), message };
    let mut values = Map::new();
    for parameter in spec.parameters {
        values.insert(parameter.name.to_string(), parameter.default_value());
    }
    for (key, value) in given {
        let Some(parameter) = spec.parameters.iter().find(|parameter| parameter.name == key) else {
            let names: Vec<_> = spec.parameters.iter().map(|parameter| parameter.name).collect();
            let takes =
                if names.is_empty() { "it takes none".to_string() } else { format!("it takes {}", names.join(", ")) };
            let hint = nearest(key, &names).map_or(takes, |near| format!("did you mean `{near}`?"));
            return Err(fail(format!("there is no parameter `{key}`; {hint}")));
        };
        parameter.check(value).map_err(|expected| fail(format!("`{key}` is {value}, but must be {expected}")))?;
        values.insert(key.clone(), value.clone());
    }
    (spec.build)(Value::Object(values)).map_err(|error| fail(error.to_string()))
}

/// The candidate with the smallest edit distance to `word`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 2)
        .map(|(_, candidate)| candidate)
}

impl Parameter {
    /// The default.
    pub fn default_value(&self) -> Value {
        serde_json::from_str(self.default).unwrap_or(Value::Null)
    }

    /// The type and range in words.
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Integer { min } => format!("a whole number of at least {min}"),
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    fn check(&self, value: &Value) -> std::result::Result<(), String> {
        let fits = match self.kind {
            Kind::Integer { min } => value.as_u64().is_some_and(|value| value >= min),
            Kind::Number { min, max } => value.as_f64().is_some_and(|value| (min..=max).contains(&value)),
            Kind::Choice(words) => value.as_str().is_some_and(|value| words.contains(&value)),
        };
        if fits { Ok(()) } else { Err(self.range()) }
    }
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_defaults_are_the_real_ones() {
        for spec in ALL {
            let built = build(spec.name, &Map::new()).expect("the defaults are valid");
            assert_eq!(built.name(), spec.name);
            let described: Map<_, _> =
                spec.parameters.iter().map(|p| (p.name.to_string(), p.default_value())).collect();
            assert_eq!(built.settings(), Value::Object(described), "{}", spec.name);
            let bare = (spec.build)(Value::Object(Map::new())).expect("a config has defaults");
            assert_eq!(bare.settings(), built.settings(), "{}", spec.name);
            for parameter in spec.parameters {
                parameter.check(&parameter.default_value()).expect("a default lies in its range");
            }
        }
    }

    #[test]
    fn mistakes_are_named_with_the_nearest_right_word() {
        let error = |name: &str, key: &str, value: Value| {
            let given = Map::from_iter([(key.to_string(), value)]);
            build(name, &given).err().expect("a mistake").to_string()
        };
        assert_eq!(
            error("low_confidense", "steps", 3.into()),
            "there is no sampler `low_confidense`; did you mean `low_confidence`?"
        );
        assert_eq!(
            error("threshold", "treshold", 3.into()),
            "sampler `threshold`: there is no parameter `treshold`; did you mean `threshold`?"
        );
        assert_eq!(
            error("threshold", "threshold", 3.into()),
            "sampler `threshold`: `threshold` is 3, but must be a number from 0 to 1"
        );
        assert_eq!(
            error("first_hitting", "steps", 3.into()),
            "sampler `first_hitting`: there is no parameter `steps`; it takes none"
        );
    }
}
