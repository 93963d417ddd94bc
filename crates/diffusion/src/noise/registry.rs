//! The registry of forward processes: each is described once, in its own file.

use serde_json::{Map, Value};

use super::{Noise, hybrid, masked, uniform};
use crate::canvas::Token;
use crate::error::{Error, Result};
use crate::registry::{self, Kind, Parameter};
use crate::schedule;

/// Every process, by name. A new one adds its file and one line here.
pub const ALL: &[Spec] = &[masked::SPEC, uniform::SPEC, hybrid::SPEC];

/// The description of a process. It is built over a vocabulary; none comes of it where the process needs a mask and the
/// vocabulary has none.
pub type Spec = registry::Spec<fn(Value, Space) -> serde_json::Result<Option<Box<dyn Noise>>>>;

/// What a process works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The size of the vocabulary V, the mask included.
    pub vocabulary: usize,
    /// The mask token, if there is one.
    pub mask: Option<Token>,
}

/// The description of a noise schedule's name.
pub const SCHEDULE: Parameter = Parameter {
    name: "schedule",
    kind: Kind::Choice(schedule::NAMES),
    default: "\"linear\"",
    help: "the noise schedule alpha(t)",
};

/// The description of the process of that name.
pub fn find(name: &str) -> Result<&'static Spec> {
    registry::find("noise", ALL, name)
}

/// Builds a process; parameters that are not given have their defaults.
pub fn build(name: &str, given: &Map<String, Value>, space: Space) -> Result<Box<dyn Noise>> {
    let spec = find(name)?;
    let values = spec.resolve("noise", given)?;
    (spec.build)(values, space)
        .map_err(|error| spec.mistake("noise", error.to_string()))?
        .ok_or_else(|| Error::setting("noise", spec.name, "the vocabulary needs a mask token for it"))
}
