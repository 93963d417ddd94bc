//! The registry of objectives: each is described once, in its own file.

use serde_json::{Map, Value};

use lldm_diffusion::registry;

use super::loss::Objective;
use super::{autoregressive, block, denoising, gidd, masked, score_entropy, uniform, uniform_block};
use crate::error::{Error, Result};

/// Every objective, by name. A new one adds its file and one line here.
pub const ALL: &[Spec] = &[
    masked::SPEC,
    block::SPEC,
    uniform::SPEC,
    uniform_block::SPEC,
    gidd::SPEC,
    score_entropy::SPEC,
    denoising::SPEC,
    autoregressive::SPEC,
];

/// The description of an objective.
pub type Spec = registry::Spec<fn(Value) -> serde_json::Result<Box<dyn Objective>>>;

/// The description of the objective of that name.
pub fn find(name: &str) -> Result<&'static Spec> {
    registry::find("objective", ALL, name).map_err(|error| Error::recipe("objective", error))
}

/// All parameters of the objective of that name: those given, checked, and the defaults of the others.
pub fn resolve(name: &str, given: &Map<String, Value>) -> Result<Map<String, Value>> {
    match find(name)?.resolve("objective", given).map_err(|error| Error::recipe("objective", error))? {
        Value::Object(values) => Ok(values),
        other => Err(Error::recipe("objective", format!("the parameters of `{name}` are {other}, not a table"))),
    }
}

/// Builds an objective; parameters that are not given have their defaults.
pub fn build(name: &str, given: &Map<String, Value>) -> Result<Box<dyn Objective>> {
    let (spec, values) = (find(name)?, resolve(name, given)?);
    (spec.build)(Value::Object(values))
        .map_err(|error| Error::recipe("objective", spec.mistake("objective", error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_builds_what_it_names() {
        for spec in ALL {
            let built = build(spec.name, &Map::new()).expect("defaults");
            assert_eq!(built.name(), spec.name);
            for alias in spec.aliases {
                assert_eq!(build(alias, &Map::new()).expect("an alias").name(), spec.name);
            }
            for parameter in spec.parameters {
                parameter.check(&parameter.default_value()).expect("the default lies in the range");
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |name: &str, given: Value| {
            let Value::Object(given) = given else { panic!("a table") };
            build(name, &given).err().expect("a mistake").to_string()
        };
        assert!(message("unifrom", serde_json::json!({})).contains("did you mean `uniform`?"));
        assert!(message("gidd", serde_json::json!({"p_unifrom": 0.1})).contains("did you mean `p_uniform`?"));
        assert!(message("block", serde_json::json!({"block_length": 0})).contains("at least 1"));
        assert!(message("masked", serde_json::json!({"block_length": 4})).contains("it takes none"));
    }
}
