//! The whole set of constraints, for as long as it is told: the example `soak` of the crate `lldm`, which is built for it with its judges.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Starts it; whether all was valid.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<bool> {
    let status = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "lldm", "--example", "soak", "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cargo cannot be started")?;
    Ok(status.success())
}
