//! Settings in layers: a request overrides the environment, this the project's file, this the user's, this the
//! checkpoint's, this the paper's. Every resolved value knows where it came from.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use lldm_diffusion::sampler::registry;
use lldm_diffusion::{Compat, EndRule, Sampler};
use lldm_models::Defaults;

use crate::error::Result;

/// The most tokens that are written where nothing else says so.
const MAX_TOKENS: usize = 64;

/// Where a setting comes from, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The request or a flag.
    Request,
    /// An environment variable `LLDM_*`.
    Environment,
    /// The project's `lldm.toml`.
    Project,
    /// The user's configuration.
    User,
    /// The checkpoint's `generation_config.json`, or the defaults of its family.
    Checkpoint,
    /// Built in: the paper's default, or ours where no paper speaks of it.
    Paper,
}

/// Settings from one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The place.
    pub origin: Origin,
    /// What it sets.
    pub values: Defaults,
}

/// The resolved settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The sampler.
    pub sampler: String,
    /// All of its parameters.
    pub parameters: Map<String, Value>,
    /// The most tokens that are written.
    pub max_tokens: usize,
    /// Cells denoised together.
    pub canvas_length: usize,
    /// Cells of a block.
    pub block_length: usize,
    /// The temperature of the draws.
    pub temperature: f64,
    /// The most probable tokens that are kept; 0 keeps all.
    pub top_k: usize,
    /// The probability that the kept tokens hold; 1 keeps all.
    pub top_p: f64,
    /// The penalty of tokens that stand in the text already; 1 is none.
    pub repetition_penalty: f64,
    /// The scale of classifier-free guidance; 0 guides nowhere and costs nothing.
    pub guidance_scale: f64,
    /// Where an end token may be written.
    pub end_rule: EndRule,
    /// Whether defects of reference implementations are kept.
    pub compat: Compat,
    /// Where each value comes from, by name (`sampler.steps` for a sampler's parameter).
    pub origins: BTreeMap<String, Origin>,
}

impl Settings {
    /// Resolves layers, whatever their order; the checkpoint's is among them.
    pub fn resolve(layers: &[Layer]) -> Result<Self> {
        let mut layers: Vec<_> = layers.iter().collect();
        layers.sort_by_key(|layer| layer.origin);
        let mut origins = BTreeMap::new();
        let sampler =
            pick(&layers, &mut origins, "sampler", |values| values.sampler.clone(), || "low_confidence".to_string());
        let max_tokens = pick(&layers, &mut origins, "max_tokens", |values| values.max_tokens, || MAX_TOKENS);
        let canvas_length = pick(&layers, &mut origins, "canvas_length", |values| values.canvas_length, || max_tokens);
        let block_length = pick(&layers, &mut origins, "block_length", |values| values.block_length, || canvas_length);
        let temperature = pick(&layers, &mut origins, "temperature", |values| values.temperature, || 1.0);
        let top_k = pick(&layers, &mut origins, "top_k", |values| values.top_k, || 0);
        let top_p = pick(&layers, &mut origins, "top_p", |values| values.top_p, || 1.0);
        let penalty = |values: &Defaults| values.repetition_penalty;
        let repetition_penalty = pick(&layers, &mut origins, "repetition_penalty", penalty, || 1.0);
        let guidance_scale = pick(&layers, &mut origins, "guidance_scale", |values| values.guidance_scale, || 0.0);
        let end_rule = pick(&layers, &mut origins, "end_rule", |values| values.end_rule, EndRule::default);
        let compat = pick(&layers, &mut origins, "compat", |values| values.compat, Compat::default);

        let spec = registry::find(&sampler)?;
        let sampler = spec.name.to_string();
        let mut parameters = Map::new();
        for parameter in spec.parameters {
            origins.insert(format!("sampler.{}", parameter.name), Origin::Paper);
            parameters.insert(parameter.name.to_string(), parameter.default_value());
        }
        let same = |name: &String| registry::find(name).is_ok_and(|found| found.name == spec.name);
        for layer in layers.iter().rev() {
            // A name may stand for the method under certain settings.
            for (name, value) in
                layer.values.sampler.iter().filter(|name| same(name)).flat_map(|name| spec.preset(name))
            {
                origins.insert(format!("sampler.{name}"), layer.origin);
                parameters.insert(name, value);
            }
            // A weaker layer's parameters belong to its own sampler, if it names one.
            let other = layer.values.sampler.as_ref().is_some_and(|name| !same(name));
            for (name, value) in layer.values.sampler_parameters.iter().filter(|_| !other) {
                origins.insert(format!("sampler.{name}"), layer.origin);
                parameters.insert(name.clone(), value.clone());
            }
        }
        let settings = Self {
            sampler,
            parameters,
            max_tokens,
            canvas_length,
            block_length,
            temperature,
            top_k,
            top_p,
            repetition_penalty,
            guidance_scale,
            end_rule,
            compat,
            origins,
        };
        settings.build_sampler()?;
        Ok(settings)
    }

    /// The sampler.
    pub fn build_sampler(&self) -> Result<Box<dyn Sampler>> {
        Ok(registry::build(&self.sampler, &self.parameters)?)
    }

    /// Every setting: name, value, origin.
    pub fn entries(&self) -> Vec<(String, Value, Origin)> {
        let mut values = BTreeMap::from([
            ("sampler".to_string(), json!(self.sampler)),
            ("max_tokens".to_string(), json!(self.max_tokens)),
            ("canvas_length".to_string(), json!(self.canvas_length)),
            ("block_length".to_string(), json!(self.block_length)),
            ("temperature".to_string(), json!(self.temperature)),
            ("top_k".to_string(), json!(self.top_k)),
            ("top_p".to_string(), json!(self.top_p)),
            ("repetition_penalty".to_string(), json!(self.repetition_penalty)),
            ("guidance_scale".to_string(), json!(self.guidance_scale)),
            ("end_rule".to_string(), json!(self.end_rule)),
            ("compat".to_string(), json!(self.compat)),
        ]);
        values.extend(self.parameters.iter().map(|(name, value)| (format!("sampler.{name}"), value.clone())));
        values
            .into_iter()
            .map(|(name, value)| {
                let origin = self.origins.get(&name).copied().unwrap_or(Origin::Paper);
                (name, value, origin)
            })
            .collect()
    }
}

fn pick<T>(
    layers: &[&Layer],
    origins: &mut BTreeMap<String, Origin>,
    name: &str,
    get: impl Fn(&Defaults) -> Option<T>,
    paper: impl FnOnce() -> T,
) -> T {
    let found = layers.iter().find_map(|layer| get(&layer.values).map(|value| (value, layer.origin)));
    let (value, origin) = found.unwrap_or_else(|| (paper(), Origin::Paper));
    origins.insert(name.to_string(), origin);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(origin: Origin, values: Value) -> Layer {
        Layer { origin, values: serde_json::from_value(values).expect("settings") }
    }

    #[test]
    fn the_strongest_layer_wins_and_says_so() {
        let layers = [
            layer(
                Origin::Checkpoint,
                json!({"sampler": "threshold", "sampler_parameters": {"threshold": 0.7}, "max_tokens": 9, "temperature": 0.4}),
            ),
            layer(Origin::Request, json!({"max_tokens": 5})),
            layer(Origin::User, json!({"temperature": 0.2})),
        ];
        let settings = Settings::resolve(&layers).expect("settings");
        assert_eq!((settings.max_tokens, settings.canvas_length, settings.temperature), (5, 5, 0.2));
        assert_eq!(settings.parameters["threshold"], json!(0.7));
        let origin = |name: &str| settings.origins[name];
        assert_eq!(origin("max_tokens"), Origin::Request);
        assert_eq!(origin("temperature"), Origin::User);
        assert_eq!(origin("sampler.threshold"), Origin::Checkpoint);
        assert_eq!(origin("block_length"), Origin::Paper);
        assert_eq!(settings.entries().len(), 14);
    }

    /// A published name may stand for a method under certain settings; a setting that somebody gives is stronger.
    #[test]
    fn a_name_brings_its_settings_along() {
        let user = layer(Origin::User, json!({"sampler": "tau_leaping", "sampler_parameters": {"method": "analytic"}}));
        let named = layer(Origin::Request, json!({"sampler": "euler"}));
        let settings = Settings::resolve(&[user.clone(), named]).expect("settings");
        assert_eq!((settings.sampler.as_str(), &settings.parameters["method"]), ("tau_leaping", &json!("euler")));
        assert_eq!(settings.origins["sampler.method"], Origin::Request);
        let given = json!({"sampler": "euler", "sampler_parameters": {"method": "analytic", "steps": 3}});
        let settings = Settings::resolve(&[user, layer(Origin::Request, given)]).expect("settings");
        assert_eq!(Value::Object(settings.parameters), json!({"steps": 3, "method": "analytic"}));
    }

    #[test]
    fn parameters_of_another_sampler_are_left_behind() {
        let layers = [
            layer(Origin::Checkpoint, json!({"sampler": "threshold", "sampler_parameters": {"threshold": 0.7}})),
            layer(Origin::Request, json!({"sampler": "low_confidence", "sampler_parameters": {"steps": 3}})),
        ];
        let settings = Settings::resolve(&layers).expect("settings");
        assert_eq!(Value::Object(settings.parameters), json!({"steps": 3}));
        let wrong = [layer(Origin::Request, json!({"sampler_parameters": {"stepz": 3}}))];
        assert!(Settings::resolve(&wrong).expect_err("no such key").to_string().contains("did you mean `steps`?"));
    }
}
