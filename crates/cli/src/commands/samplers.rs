//! `lldm samplers`: the registry of samplers.

use anyhow::Result;
use clap::Args;
use lldm_diffusion::sampler::registry::ALL;

use super::methods::{FormArgs, show};
use crate::sampling::SamplerName;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct SamplersArgs {
    /// Only this sampler
    #[arg(value_parser = SamplerName)]
    name: Option<String>,
    #[command(flatten)]
    form: FormArgs,
}

/// Runs the command.
pub(crate) fn run(args: &SamplersArgs) -> Result<()> {
    let all: Vec<_> = ALL.iter().map(|spec| spec.description()).collect();
    show("sampler", &all, args.name.as_deref(), &args.form)
}
