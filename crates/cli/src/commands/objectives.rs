//! `lldm objectives`: the registry of training objectives.

use anyhow::Result;
use lldm_train::objective::registry::ALL;

use super::methods::{self, MethodsArgs};

/// Runs the command.
pub(crate) fn run(args: &MethodsArgs) -> Result<()> {
    let all: Vec<_> = ALL.iter().map(|spec| spec.description()).collect();
    methods::run("objective", &all, args)
}
