//! The flags that decide how a text is sampled. What they offer comes from the registry of samplers.

use std::fmt::Write;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use lldm_diffusion::sampler::registry;
use lldm_diffusion::{Compat, EndRule};
use lldm_models::Defaults;
use serde_json::{Map, Value};

/// The sampling flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// The most tokens that are written
    #[arg(short = 'n', long, value_name = "TOKENS")]
    pub(crate) max_tokens: Option<usize>,
    #[arg(long, value_name = "NAME", value_parser = SamplerName, hide_possible_values = true, help = sampler_help(), long_help = sampler_long_help())]
    pub(crate) sampler: Option<String>,
    /// The sampler's parameter `steps`
    #[arg(long, value_name = "STEPS")]
    pub(crate) steps: Option<u64>,
    /// The sampler's parameter `threshold`
    #[arg(long, value_name = "PROBABILITY", allow_negative_numbers = true)]
    pub(crate) threshold: Option<f64>,
    /// A parameter of the sampler; the value is JSON or a bare word
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The cells of a block; blocks are finished from left to right
    #[arg(long, value_name = "CELLS")]
    pub(crate) block_length: Option<usize>,
    /// The cells that are denoised together
    #[arg(long, value_name = "CELLS")]
    pub(crate) canvas_length: Option<usize>,
    /// The temperature of the draws; 0 takes the most probable token
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f64>,
    /// Keep the K most probable tokens; 0 keeps all
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Keep the most probable tokens that hold this probability together; 1 keeps all
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,
    /// Divide the logits of tokens that stand in the text already; 1 does nothing
    #[arg(long, value_name = "PENALTY", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f64>,
    /// Guide away from what the model says without the prompt: S times the difference is added. It costs a second forward
    /// pass at each step; 0 guides nowhere and costs nothing
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(crate) guidance: Option<f64>,
    /// Where an end token may be written: in the leftmost open cell only, or anywhere
    #[arg(long, value_name = "RULE", value_parser = PossibleValuesParser::new(["leftmost", "free"]))]
    pub(crate) end_rule: Option<String>,
    /// Do as the paper means, or as its reference implementation does, defects included
    #[arg(long, value_name = "WHICH", value_parser = PossibleValuesParser::new(["exact", "reference"]))]
    pub(crate) compat: Option<String>,
}

impl SamplingArgs {
    /// What the flags ask for.
    pub(crate) fn request(&self) -> Result<Defaults> {
        let mut parameters = Map::new();
        for item in &self.set {
            let Some((key, value)) = item.split_once('=') else {
                bail!("--set is `{item}`, but is written --set key=value");
            };
            let key = key.strip_prefix("sampler.").unwrap_or(key);
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
            parameters.insert(key.to_string(), value);
        }
        parameters.extend(self.steps.map(|steps| ("steps".to_string(), steps.into())));
        parameters.extend(self.threshold.map(|threshold| ("threshold".to_string(), threshold.into())));
        Ok(Defaults {
            sampler: self.sampler.clone(),
            sampler_parameters: parameters,
            max_tokens: self.max_tokens,
            canvas_length: self.canvas_length,
            block_length: self.block_length,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            guidance_scale: self.guidance,
            end_rule: self.end_rule.as_deref().map(|rule| match rule {
                "free" => EndRule::Free,
                _ => EndRule::Leftmost,
            }),
            compat: self.compat.as_deref().map(|which| match which {
                "reference" => Compat::Reference,
                _ => Compat::Exact,
            }),
        })
    }
}

/// A name in the registry of samplers.
#[derive(Clone)]
pub(crate) struct SamplerName;

impl TypedValueParser for SamplerName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        let name = StringValueParser::new().parse_ref(command, argument, value)?;
        match registry::find(&name) {
            Ok(_) => Ok(name),
            Err(error) => Err(clap::Error::raw(ErrorKind::InvalidValue, error).with_cmd(command)),
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(registry::ALL.iter().map(|spec| PossibleValue::new(spec.name).help(spec.summary))))
    }
}

fn sampler_help() -> String {
    "The sampler; `lldm samplers` describes them".to_string()
}

fn sampler_long_help() -> String {
    let mut text = "The sampler, with what --set can give it:\n".to_string();
    for spec in registry::ALL {
        // Writing into a string cannot fail.
        let _ = write!(text, "\n{}: {}", spec.name, spec.summary);
        for parameter in spec.parameters {
            let (name, help, range) = (parameter.name, parameter.help, parameter.range());
            let _ = write!(text, "\n  {name}={}: {help}, {range}", parameter.default);
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_request() {
        let args = SamplingArgs {
            set: vec!["sampler.order=left".to_string(), "steps=3".to_string()],
            steps: Some(5),
            end_rule: Some("free".to_string()),
            ..SamplingArgs::default()
        };
        let request = args.request().expect("a request");
        assert_eq!(Value::Object(request.sampler_parameters), serde_json::json!({ "order": "left", "steps": 5 }));
        assert_eq!(request.end_rule, Some(EndRule::Free));
        let wrong = SamplingArgs { set: vec!["steps".to_string()], ..SamplingArgs::default() };
        assert!(wrong.request().expect_err("no value").to_string().contains("--set key=value"));
    }

    #[test]
    fn the_help_knows_every_sampler_and_parameter() {
        let help = sampler_long_help();
        for spec in registry::ALL {
            assert!(help.contains(spec.name) && help.contains(spec.summary));
            assert!(spec.parameters.iter().all(|parameter| help.contains(parameter.help)));
        }
    }
}
