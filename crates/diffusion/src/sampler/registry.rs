//! The registry of samplers: each is described once, in its own file.

use serde_json::{Map, Value};

use super::{
    Sampler, ancestral, dream, entropy_bound, factor, first_hitting, gidd, hierarchical, left_to_right, low_confidence,
    psi, random, remdm, sdar, tau_leaping, threshold, token_editing,
};
use crate::error::Result;
use crate::registry;

/// Every sampler, by name. A new sampler adds its file and one line here.
pub const ALL: &[Spec] = &[
    ancestral::SPEC,
    first_hitting::SPEC,
    low_confidence::SPEC,
    random::SPEC,
    threshold::SPEC,
    factor::SPEC,
    hierarchical::SPEC,
    dream::SPEC,
    sdar::SPEC,
    token_editing::SPEC,
    entropy_bound::SPEC,
    remdm::SPEC,
    psi::SPEC,
    gidd::SPEC,
    tau_leaping::SPEC,
    left_to_right::SPEC,
];

/// The description of a sampler.
pub type Spec = registry::Spec<fn(Value) -> serde_json::Result<Box<dyn Sampler>>>;

/// The description of the sampler of that name.
pub fn find(name: &str) -> Result<&'static Spec> {
    registry::find("sampler", ALL, name)
}

/// Builds a sampler; parameters that are not given are those that the name stands for, else their defaults.
pub fn build(name: &str, given: &Map<String, Value>) -> Result<Box<dyn Sampler>> {
    let spec = find(name)?;
    let mut values = spec.preset(name);
    values.extend(given.clone());
    let values = spec.resolve("sampler", &values)?;
    (spec.build)(values).map_err(|error| spec.mistake("sampler", error.to_string()))
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
    fn every_published_name_builds_what_it_stands_for() {
        let mut names = std::collections::BTreeSet::new();
        for spec in ALL {
            for name in spec.names() {
                assert!(names.insert(name), "{name} stands for two samplers");
                let built = build(name, &Map::new()).expect("a sampler");
                assert_eq!(built.name(), spec.name);
                for (key, value) in spec.preset(name) {
                    assert_eq!(built.settings()[&key], value, "{name}");
                    assert!(!value.is_null(), "{name}");
                }
            }
        }
        let settings = |name: &str, key: &str| build(name, &Map::new()).expect("a sampler").settings()[key].clone();
        assert_eq!(settings("topk_margin", "algorithm"), "topk_margin");
        assert_eq!(settings("static", "strategy"), "static");
        assert_eq!(settings("euler", "method"), "euler");
        let given = Map::from_iter([("method".to_string(), Value::from("analytic"))]);
        assert_eq!(build("euler", &given).expect("a sampler").settings()["method"], "analytic");
    }

    #[test]
    fn a_window_that_ends_before_it_begins_is_refused() {
        let given = Map::from_iter([("t_off".to_string(), Value::from(0.5)), ("t_on".to_string(), Value::from(0.2))]);
        for name in ["remdm", "psi"] {
            let error = build(name, &given).err().expect("a mistake").to_string();
            assert!(error.contains("`t_off` is 0.5, but must not lie above `t_on`, 0.2"), "{error}");
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
