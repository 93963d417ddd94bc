//! What a registry entry says about a method: its name, its other names, its paper, its parameters with type and range.
//! Samplers, noises and objectives are described this way once; help, documentation and configuration read it here.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The description of a method that `B` builds.
#[derive(Clone, Copy)]
pub struct Spec<B> {
    /// The name, as users write it.
    pub name: &'static str,
    /// Other names under which it is published.
    pub aliases: &'static [&'static str],
    /// Names under which it is published with certain settings.
    pub presets: &'static [Preset],
    /// What it does, in one line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// Builds it from a complete set of values.
    pub build: B,
}

/// A published name that stands for a method under certain settings: the name, and each setting with its value as JSON.
pub type Preset = (&'static str, &'static [(&'static str, &'static str)]);

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
    /// Yes or no.
    Flag,
}

/// The entry of that name, or of that other name; `what` says what the registry holds.
pub fn find<B>(what: &'static str, all: &'static [Spec<B>], name: &str) -> Result<&'static Spec<B>> {
    let known = |spec: &&Spec<B>| spec.names().any(|known| known == name);
    all.iter().find(known).ok_or_else(|| {
        let names: Vec<_> = all.iter().flat_map(Spec::names).collect();
        let hint = match nearest(name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", all.iter().map(|spec| spec.name).collect::<Vec<_>>().join(", ")),
        };
        Error::Unknown { what, name: name.to_string(), hint }
    })
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

/// A description without what it builds: the same type for every registry.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The name, as users write it.
    pub name: &'static str,
    /// Other names under which it is published.
    pub aliases: &'static [&'static str],
    /// Names under which it is published with certain settings.
    pub presets: &'static [Preset],
    /// What it does, in one line.
    pub summary: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
}

impl<B> Spec<B> {
    /// Every name that finds it.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<B> {
        std::iter::once(self.name).chain(self.aliases.iter().copied()).chain(self.presets.iter().map(|(name, _)| *name))
    }

    /// The settings that one of its names stands for.
    pub fn preset(&self, name: &str) -> Map<String, Value> {
        let found = self.presets.iter().filter(|(preset, _)| *preset == name).flat_map(|(_, values)| *values);
        found.map(|(key, value)| (key.to_string(), serde_json::from_str(value).unwrap_or(Value::Null))).collect()
    }

    /// What the entry says, without what it builds.
    pub fn description(&self) -> Description {
        let Self { name, aliases, presets, summary, paper, parameters, .. } = *self;
        Description { name, aliases, presets, summary, paper, parameters }
    }

    /// A complete set of values: what is given, checked, and the defaults for the rest.
    pub fn resolve(&self, what: &'static str, given: &Map<String, Value>) -> Result<Value> {
        let mut values = Map::new();
        for parameter in self.parameters {
            values.insert(parameter.name.to_string(), parameter.default_value());
        }
        for (key, value) in given {
            let Some(parameter) = self.parameters.iter().find(|parameter| parameter.name == key) else {
                let names: Vec<_> = self.parameters.iter().map(|parameter| parameter.name).collect();
                let takes = if names.is_empty() {
                    "it takes none".to_string()
                } else {
                    format!("it takes {}", names.join(", "))
                };
                let hint = nearest(key, &names).map_or(takes, |near| format!("did you mean `{near}`?"));
                return Err(self.mistake(what, format!("there is no parameter `{key}`; {hint}")));
            };
            let mistake = |expected| self.mistake(what, format!("`{key}` is {value}, but must be {expected}"));
            parameter.check(value).map_err(mistake)?;
            values.insert(key.clone(), value.clone());
        }
        Ok(Value::Object(values))
    }

    /// An error about this entry's parameters.
    pub fn mistake(&self, what: &'static str, message: String) -> Error {
        Error::Parameters { what, name: self.name.to_string(), message }
    }
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
            Kind::Number { min, max: f64::INFINITY } => format!("a number of at least {min}"),
            Kind::Number { min, max } => format!("a number from {min} to {max}"),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Flag => "true or false".to_string(),
        }
    }

    /// Whether a value has the type and lies in the range; if not, what would.
    pub fn check(&self, value: &Value) -> std::result::Result<(), String> {
        let fits = match self.kind {
            Kind::Integer { min } => value.as_u64().is_some_and(|value| value >= min),
            Kind::Number { min, max } => value.as_f64().is_some_and(|value| (min..=max).contains(&value)),
            Kind::Choice(words) => value.as_str().is_some_and(|value| words.contains(&value)),
            Kind::Flag => value.is_boolean(),
        };
        if fits { Ok(()) } else { Err(self.range()) }
    }
}

/// The settings of a method, each described once: a struct with its defaults, and [`Parameter`]s for the registry.
///
/// A line holds name, type, default, the same default as JSON, range, and meaning.
#[macro_export]
macro_rules! settings {
    ($(#[$meta:meta])* $name:ident {
        $($field:ident: $type:ty = $default:expr => $json:literal, $kind:expr, $help:literal;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// What the registry says of each setting.
            pub const PARAMETERS: &'static [$crate::registry::Parameter] = &[
                $($crate::registry::Parameter { name: stringify!($field), kind: $kind, default: $json, help: $help },)*
            ];
        }
    };
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
