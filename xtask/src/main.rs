//! Tasks of the workspace that are no part of the product: `cargo xtask tidy`, `cargo xtask default-model`,
//! `cargo xtask soak`.

mod default_model;
mod soak;
mod tidy;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

const USAGE: &str = "usage: cargo xtask tidy            checks the house rules that no compiler checks
       cargo xtask default-model   trains the default model and its twin, measures them, and writes crates/assets/model
       cargo xtask soak [--minutes N] [--seed S]
                                   writes texts under thousands of constraints and has them judged, for so many minutes";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["tidy"] => match tidy_up() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        ["default-model"] => match root().and_then(|root| default_model::make(&root)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        ["soak", arguments @ ..] => match root().and_then(|root| soak::run(&root, arguments)) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Prints notes and findings; returns whether there was no finding.
fn tidy_up() -> Result<bool> {
    let report = tidy::inspect(&root()?)?;
    for note in &report.notes {
        println!("note: {note}");
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    match report.findings.len() {
        0 => println!("tidy: {} files, nothing to mend", report.files),
        1 => eprintln!("tidy: 1 thing to mend"),
        count => eprintln!("tidy: {count} things to mend"),
    }
    Ok(report.findings.is_empty())
}

/// The root of the workspace: the folder above this package.
fn root() -> Result<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").context("start it as `cargo xtask tidy`")?;
    let mut root = PathBuf::from(package);
    root.pop();
    Ok(root)
}
