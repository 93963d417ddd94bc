//! `lldm samplers`, `lldm noises`, `lldm objectives`: a registry as a table, as one entry, as JSON, or as Markdown for the
//! documentation.

use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use lldm_diffusion::registry::{Description, Kind, nearest};
use serde_json::{Value, json};

use crate::render::{json as json_output, plain};

/// How a registry is shown.
#[derive(Debug, Args)]
pub(crate) struct FormArgs {
    /// Write JSON
    #[arg(long)]
    json: bool,
    /// Write Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// The arguments of a registry without a parser of its names.
#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    /// Only this one
    name: Option<String>,
    #[command(flatten)]
    form: FormArgs,
}

/// Shows a registry of `what`s, or the one that is named.
pub(crate) fn run(what: &str, all: &[Description], args: &MethodsArgs) -> Result<()> {
    show(what, all, args.name.as_deref(), &args.form)
}

/// Shows a registry of `what`s, or the one called `name`.
pub(crate) fn show(what: &str, all: &[Description], name: Option<&str>, form: &FormArgs) -> Result<()> {
    let known = |one: &&Description| {
        name.is_none_or(|name| one.name == name || also(one).iter().any(|(known, _)| *known == name))
    };
    let found: Vec<_> = all.iter().filter(known).copied().collect();
    if let (Some(name), true) = (name, found.is_empty()) {
        let names: Vec<_> = all.iter().map(|one| one.name).collect();
        let hint = nearest(name, &names)
            .map_or(format!("known are {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
        anyhow::bail!("there is no {what} `{name}`; {hint}");
    }
    if form.json {
        return json_output::say(&found.iter().map(described).collect::<Vec<_>>());
    }
    if form.markdown {
        return Ok(plain::say(&markdown(what, &found))?);
    }
    if let (Some(_), [one]) = (name, found.as_slice()) {
        let mut text = plain::pairs(&[
            (what, one.name.to_string()),
            (
                "also",
                also(one)
                    .into_iter()
                    .map(|(name, settings)| format!("{name}{settings}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
            ("what", one.summary.to_string()),
            ("paper", one.paper.to_string()),
        ]);
        if also(one).is_empty() {
            text = text.lines().filter(|line| !line.starts_with("also")).collect::<Vec<_>>().join("\n");
        }
        if !one.parameters.is_empty() {
            text.push_str("\n\n");
            text.push_str(&parameters(what, &found, false));
        }
        return Ok(plain::say(&text)?);
    }
    let rows: Vec<_> =
        found.iter().map(|one| vec![one.name.to_string(), one.summary.to_string(), one.paper.to_string()]).collect();
    let head = what.to_uppercase();
    let table = plain::table(&[&head, "WHAT IT DOES", "PAPER"], &rows);
    Ok(plain::say(&format!("{table}\n\n{}", parameters(what, &found, true)))?)
}

fn parameters(what: &str, all: &[Description], with_name: bool) -> String {
    let rows: Vec<_> = all
        .iter()
        .flat_map(|one| one.parameters.iter().map(move |parameter| (one, parameter)))
        .map(|(one, parameter)| {
            let name = with_name.then(|| one.name.to_string());
            let cells = [parameter.name.to_string(), parameter.default.to_string(), parameter.range()];
            name.into_iter().chain(cells).chain([parameter.help.to_string()]).collect()
        })
        .collect();
    let head = what.to_uppercase();
    let header = [head.as_str(), "PARAMETER", "DEFAULT", "RANGE", "MEANING"];
    plain::table(&header[usize::from(!with_name)..], &rows)
}

fn markdown(what: &str, all: &[Description]) -> String {
    let mut text = format!("# Every {what}\n\nMade by `lldm {what}s --markdown`.\n\n");
    for one in all {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "## `{}`\n\n{}. {}.", one.name, capital(one.summary), one.paper);
        if !also(one).is_empty() {
            let names = also(one).into_iter().map(|(name, settings)| format!("`{name}`{settings}"));
            let _ = writeln!(text, "Also found as {}.", names.collect::<Vec<_>>().join(", "));
        }
        if !one.parameters.is_empty() {
            text.push_str("\n| parameter | default | range | meaning |\n|---|---|---|---|\n");
        }
        for parameter in one.parameters {
            let (name, range, help) = (parameter.name, parameter.range(), parameter.help);
            let _ = writeln!(text, "| `{name}` | `{}` | {range} | {help} |", parameter.default);
        }
        text.push('\n');
    }
    text.trim_end().to_string()
}

/// The other names, with what they stand for beyond the method.
fn also(one: &Description) -> Vec<(&'static str, String)> {
    let presets = one.presets.iter().map(|(name, values)| {
        let values = values.iter().map(|(key, value)| format!("{key}={}", value.trim_matches('"')));
        (*name, format!(" ({})", values.collect::<Vec<_>>().join(", ")))
    });
    one.aliases.iter().map(|name| (*name, String::new())).chain(presets).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn described(one: &Description) -> Value {
    let parameters: Vec<_> = one
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
                    if max.is_finite() {
                        value["maximum"] = max.into();
                    }
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
    json!({
        "name": one.name,
        "aliases": one.aliases,
        "presets": one.presets.iter().map(|(name, values)| json!({
            "name": name,
            "parameters": values.iter().map(|(key, value)| {
                (key.to_string(), serde_json::from_str(value).unwrap_or(Value::Null))
            }).collect::<serde_json::Map<_, _>>(),
        })).collect::<Vec<_>>(),
        "summary": one.summary,
        "paper": one.paper,
        "parameters": parameters,
    })
}
