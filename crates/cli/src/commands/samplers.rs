//! `lldm samplers`: the registry of samplers as a table.

use anyhow::Result;
use clap::Args;
use lldm_diffusion::registry::Kind;
use lldm_diffusion::sampler::registry::{self, Spec};
use serde_json::{Value, json};

use crate::render::{json as json_output, plain};
use crate::sampling::SamplerName;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct SamplersArgs {
    /// Only this sampler
    #[arg(value_parser = SamplerName)]
    name: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &SamplersArgs) -> Result<()> {
    let specs: Vec<&Spec> = match &args.name {
        Some(name) => vec![registry::find(name)?],
        None => registry::ALL.iter().collect(),
    };
    if args.json {
        return json_output::say(&specs.into_iter().map(described).collect::<Vec<_>>());
    }
    if let (Some(_), [spec]) = (&args.name, specs.as_slice()) {
        let mut text = plain::pairs(&[
            ("sampler", spec.name.to_string()),
            ("what", spec.summary.to_string()),
            ("paper", spec.paper.to_string()),
        ]);
        if !spec.parameters.is_empty() {
            text.push_str("\n\n");
            text.push_str(&parameters(&specs, false));
        }
        return Ok(plain::say(&text)?);
    }
    let rows: Vec<_> = specs
        .iter()
        .map(|spec| vec![spec.name.to_string(), spec.summary.to_string(), spec.paper.to_string()])
        .collect();
    let table = plain::table(&["SAMPLER", "WHAT IT DOES", "PAPER"], &rows);
    Ok(plain::say(&format!("{table}\n\n{}", parameters(&specs, true)))?)
}

fn parameters(specs: &[&Spec], with_sampler: bool) -> String {
    let rows: Vec<_> = specs
        .iter()
        .flat_map(|spec| spec.parameters.iter().map(move |parameter| (spec, parameter)))
        .map(|(spec, parameter)| {
            let sampler = with_sampler.then(|| spec.name.to_string());
            let cells = [parameter.name.to_string(), parameter.default.to_string(), parameter.range()];
            sampler.into_iter().chain(cells).chain([parameter.help.to_string()]).collect()
        })
        .collect();
    let header = ["SAMPLER", "PARAMETER", "DEFAULT", "RANGE", "MEANING"];
    plain::table(&header[usize::from(!with_sampler)..], &rows)
}

fn described(spec: &Spec) -> Value {
    let parameters: Vec<_> = spec
        .parameters
        .iter()
        .map(|parameter| {
            let mut value = json!({ "name": parameter.name, "default": parameter.default_value() });
            match parameter.kind {
                Kind::Integer { min } => {
                    value["type"] = "integer".into();
                    value["minimum"] = min.into();
                }
                Kind::Number { min, max } => {
                    value["type"] = "number".into();
                    value["minimum"] = min.into();
                    value["maximum"] = max.into();
                }
                Kind::Flag => value["type"] = "boolean".into(),
                Kind::Choice(words) => {
                    value["type"] = "string".into();
                    value["enum"] = words.into();
                }
            }
            value["description"] = parameter.help.into();
            value
        })
        .collect();
    json!({ "name": spec.name, "summary": spec.summary, "paper": spec.paper, "parameters": parameters })
}
