//! Settings from the environment, the project's `lldm.toml` and the user's configuration, as layers for a pipeline.
//!
//! The keys are those of a checkpoint's `generation_config.json`.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use lldm::{Layer, Origin};
use lldm_diffusion::sampler::registry;
use lldm_models::Defaults;
use serde_json::{Map, Value};

/// The project's file, looked for in the current folder and those above it.
pub(crate) const PROJECT_FILE: &str = "lldm.toml";

/// The environment's variables and the settings that they make.
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("LLDM_SAMPLER", "sampler"),
    ("LLDM_SAMPLER_PARAMETERS", "sampler_parameters"),
    ("LLDM_MAX_TOKENS", "max_tokens"),
    ("LLDM_CANVAS_LENGTH", "canvas_length"),
    ("LLDM_BLOCK_LENGTH", "block_length"),
    ("LLDM_TEMPERATURE", "temperature"),
    ("LLDM_TOP_K", "top_k"),
    ("LLDM_TOP_P", "top_p"),
    ("LLDM_REPETITION_PENALTY", "repetition_penalty"),
    ("LLDM_GUIDANCE_SCALE", "guidance_scale"),
    ("LLDM_END_RULE", "end_rule"),
    ("LLDM_COMPAT", "compat"),
];

/// The layers that lie between a flag and the checkpoint.
pub(crate) fn layers() -> Result<Vec<Layer>> {
    let mut layers = vec![Layer {
        origin: Origin::Environment,
        values: environment(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?,
    }];
    for (origin, path) in [(Origin::Project, project_file()), (Origin::User, user_file())] {
        if let Some(path) = path.filter(|path| path.is_file()) {
            layers.push(Layer { origin, values: read(&path)? });
        }
    }
    Ok(layers)
}

/// The nearest [`PROJECT_FILE`].
pub(crate) fn project_file() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    folder.ancestors().map(|folder| folder.join(PROJECT_FILE)).find(|path| path.is_file())
}

/// Where the user's configuration lies, whether or not it exists.
pub(crate) fn user_file() -> Option<PathBuf> {
    Some(dirs::config_dir()?.join("lldm").join("config.toml"))
}

fn read(path: &Path) -> Result<Defaults> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| anyhow!("cannot read {place}: {error}"))?;
    let values = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
        let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
        anyhow!("{place}{line}: {}; correct the file", error.message())
    })?;
    check(&values, &place.to_string())?;
    Ok(values)
}

fn environment(get: impl Fn(&str) -> Option<String>) -> Result<Defaults> {
    let mut all = Defaults::default();
    for (variable, key) in VARIABLES {
        let Some(text) = get(variable) else { continue };
        let value = match *key {
            "sampler" | "end_rule" | "compat" => Value::String(text.clone()),
            _ => serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone())),
        };
        let one: Defaults = serde_json::from_value(Value::Object(Map::from_iter([(key.to_string(), value)])))
            .map_err(|error| anyhow!("{variable} is `{text}`: {error}; correct it or unset it"))?;
        check(&one, variable)?;
        all = one.or(all);
    }
    Ok(all)
}

/// Fails where a sampler is named that does not exist, or one with parameters that it does not take.
fn check(values: &Defaults, place: &str) -> Result<()> {
    if let Some(sampler) = &values.sampler {
        registry::build(sampler, &values.sampler_parameters).map_err(|error| anyhow!("{place}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Defaults> {
        environment(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn variables_become_settings() {
        let values = from(&[
            ("LLDM_SAMPLER", "threshold"),
            ("LLDM_SAMPLER_PARAMETERS", "{\"threshold\": 0.5}"),
            ("LLDM_TEMPERATURE", "0"),
            ("LLDM_END_RULE", "free"),
        ])
        .expect("settings");
        assert_eq!(values.sampler.as_deref(), Some("threshold"));
        assert_eq!(values.sampler_parameters["threshold"], 0.5);
        assert_eq!(values.temperature, Some(0.0));
        assert_eq!(values.end_rule, Some(lldm_diffusion::EndRule::Free));
        assert_eq!(values.max_tokens, None);
    }

    #[test]
    fn a_bad_variable_is_named() {
        let message = |pairs: &[(&str, &str)]| from(pairs).expect_err("a mistake").to_string();
        assert!(message(&[("LLDM_MAX_TOKENS", "many")]).starts_with("LLDM_MAX_TOKENS is `many`: invalid type"));
        assert!(message(&[("LLDM_SAMPLER", "treshold")]).contains("did you mean `threshold`?"));
    }

    #[test]
    fn every_setting_has_a_variable() {
        let all = Defaults {
            sampler: Some("threshold".to_string()),
            sampler_parameters: Map::from_iter([("threshold".to_string(), 0.5.into())]),
            max_tokens: Some(1),
            canvas_length: Some(1),
            block_length: Some(1),
            temperature: Some(1.0),
            top_k: Some(1),
            top_p: Some(0.9),
            repetition_penalty: Some(1.1),
            guidance_scale: Some(1.5),
            end_rule: Some(lldm_diffusion::EndRule::Free),
            compat: Some(lldm_diffusion::Compat::Exact),
        };
        let Value::Object(fields) = serde_json::to_value(all).expect("JSON") else { panic!("no object") };
        let keys: Vec<_> = VARIABLES.iter().map(|(_, key)| *key).collect();
        assert!(fields.keys().all(|key| keys.contains(&key.as_str())) && fields.len() == keys.len());
    }
}
