//! `lldm convert`: a model folder with its weights quantised, or packed for the kernels of this CPU so that they are mapped as they are.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use lldm_kernels::QuantFormat;
use lldm_models::convert::{ConvertConfig, Fallback, Report, Target, convert};
use serde_json::json;

use crate::machine::peak_memory_bytes;
use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// `embedded`, or a folder with config.json, model.safetensors and tokenizer.json
    #[arg(value_name = "IN")]
    from: String,
    /// The folder that is made
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// What the weights of layers and the embedding become; norms stay as they are [default: what they are, bf16 for plain ones]
    #[arg(long, value_name = "FORMAT", value_parser = quant())]
    quant: Option<Target>,
    /// Put them into the order of this CPU's kernels, in which they are mapped into memory as they are
    #[arg(long)]
    pack: bool,
    /// Replace the model that is in OUT
    #[arg(long)]
    force: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &ConvertArgs) -> Result<()> {
    if args.quant.is_none() && !args.pack {
        bail!("nothing is asked for: say what the weights become with --quant, --pack, or both");
    }
    let start = Instant::now();
    let config = ConvertConfig { target: args.quant, pack: args.pack, replace: args.force };
    let report = convert(&args.from, &args.to, config)?;
    let wall_s = start.elapsed().as_secs_f64();
    for fallback in &report.fallbacks {
        plain::note(&note(fallback));
    }
    if args.json {
        let mut value = json!({
            "source": args.from,
            "model": args.to,
            "wall_s": wall_s,
            "peak_memory_bytes": peak_memory_bytes(),
        });
        if let (Some(value), Some(report)) = (value.as_object_mut(), json!(report).as_object()) {
            value.extend(report.clone());
        }
        return json_output::say(&value);
    }
    let (now, before) = (plain::size(report.size_bytes as u64), plain::size(report.source_bytes as u64));
    let kernel = report.kernel.as_ref().map(|kernel| format!(", packed for the kernel {kernel}")).unwrap_or_default();
    let place = args.to.display();
    Ok(plain::say(&format!("{}\n\n{place}: {now} of {before}{kernel}, in {wall_s:.1} s", table(&report)))?)
}

/// The values of `--quant`.
fn quant() -> impl TypedValueParser<Value = Target> {
    let names = QuantFormat::ALL.map(QuantFormat::name);
    PossibleValuesParser::new(names.into_iter().chain(["bf16"])).map(|name| {
        let format = QuantFormat::ALL.into_iter().find(|format| format.name() == name);
        format.map_or(Target::Bf16, Target::Quant)
    })
}

fn note(fallback: &Fallback) -> String {
    let Fallback { asked, became, tensors } = fallback;
    let count = tensors.len();
    let first = tensors.first().map_or("", String::as_str);
    format!(
        "note: the rows of {count} tensors are not whole blocks of {asked}, so they became {became}; the first is `{first}`"
    )
}

fn table(report: &Report) -> String {
    let rows: Vec<_> = report
        .parts
        .iter()
        .map(|part| {
            vec![
                part.kind.clone(),
                if part.packed { format!("{}, packed", part.format) } else { part.format.clone() },
                part.tensors.to_string(),
                plain::grouped(part.parameters),
                plain::size(part.size_bytes as u64),
                format!("{:.3}%", 100.0 * part.relative_rms_error),
            ]
        })
        .collect();
    plain::table(&["TENSORS", "FORMAT", "COUNT", "PARAMETERS", "SIZE", "R.M.S. ERROR"], &rows)
}
