//! The `lldm` command: parses the line, calls one command, turns its result into an exit code.
//!
//! 0 is success (also when the reader of a pipe went away), 1 a mistake in what was asked, 2 a defect of the program, 130
//! an interrupt. An error is one line on stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod bundled;
mod commands;
mod config;
mod constraint_bench;
mod constraints;
mod device;
mod failure;
mod judge;
mod kernel_bench;
mod machine;
mod render;
mod sampling;
mod trace_file;
mod whole_file;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Cli, Command};

fn main() -> ExitCode {
    failure::install_panic_hook();
    std::panic::catch_unwind(run).unwrap_or(ExitCode::from(failure::INTERNAL))
}

fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error),
    };
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    // A kernel that LLDM_KERNEL names and this machine lacks is the user's mistake, to be told before any work.
    if !matches!(command, Command::Doctor(_)) {
        lldm_kernels::selected_kernel()?;
    }
    match command {
        Command::Run(args) => commands::run::run(*args),
        Command::Fill(args) => commands::fill::run(&args),
        Command::Trace(args) => commands::trace::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Recipes(args) => commands::recipes::run(&args),
        Command::Data(args) => commands::data::run(&args),
        Command::Score(args) => commands::score::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Convert(args) => commands::convert::run(&args),
        Command::Show(args) => commands::show::run(&args),
        Command::Samplers(args) => commands::samplers::run(&args),
        Command::Noises(args) => commands::noises::run(&args),
        Command::Objectives(args) => commands::objectives::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    }
}
