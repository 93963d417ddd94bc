//! `lldm man`: the manual page, of the program or of a command.

use anyhow::{Result, anyhow};
use clap::{Args, CommandFactory};
use lldm_diffusion::registry::nearest;

use crate::arguments::Cli;
use crate::render::plain;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The page of this command
    command: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => {
            let names: Vec<_> = program.get_subcommands().map(clap::Command::get_name).collect();
            let hint = match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", names.join(", ")),
            };
            let found = program.find_subcommand(name).ok_or_else(|| anyhow!("there is no command `{name}`: {hint}"))?;
            found.clone()
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(plain::say(&String::from_utf8(page)?)?)
}
