//! `lldm recipes`: what can be trained without writing a recipe, and a start for one's own.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};

use crate::bundled;
use crate::render::plain;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct RecipesArgs {
    #[command(subcommand)]
    command: RecipesCommand,
}

#[derive(Debug, Subcommand)]
enum RecipesCommand {
    /// List them
    Ls,
    /// Copy one to a file, to be changed
    Cp {
        /// The recipe
        name: String,
        /// Where to; `-` is stdout [default: NAME.toml]
        file: Option<PathBuf>,
    },
}

/// Runs the command.
pub(crate) fn run(args: &RecipesArgs) -> Result<()> {
    match &args.command {
        RecipesCommand::Ls => {
            let rows: Vec<_> =
                bundled::ALL.iter().map(|recipe| vec![recipe.name.to_string(), recipe.summary().to_string()]).collect();
            Ok(plain::say(&plain::table(&["RECIPE", "WHAT IT TRAINS"], &rows))?)
        }
        RecipesCommand::Cp { name, file } => {
            let recipe = bundled::find(name)?;
            let path = file.clone().unwrap_or_else(|| format!("{name}.toml").into());
            if path.as_os_str() == "-" {
                return Ok(plain::say(recipe.text)?);
            }
            if path.exists() {
                bail!("{} exists already: name another file", path.display());
            }
            std::fs::write(&path, recipe.text).map_err(|error| anyhow!("cannot write {}: {error}", path.display()))?;
            plain::note(&format!("{} is yours to change; train it with `lldm train {0}`", path.display()));
            Ok(())
        }
    }
}
