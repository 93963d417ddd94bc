//! `lldm noises`: the registry of forward processes.

use anyhow::Result;
use lldm_diffusion::noise::registry::ALL;

use super::methods::{self, MethodsArgs};

/// Runs the command.
pub(crate) fn run(args: &MethodsArgs) -> Result<()> {
    let all: Vec<_> = ALL.iter().map(|spec| spec.description()).collect();
    methods::run("noise", &all, args)
}
