//! The command line as a whole. Each command's own arguments stand in its file.

use clap::{Parser, Subcommand};

use crate::commands::{
    bench, completions, convert, data, doctor, eval, fill, man, methods, recipes, run, samplers, score, show, trace,
    train,
};

/// Run, train and measure large language diffusion models: text that is denoised, a whole block at once.
#[derive(Debug, Parser)]
#[command(name = "lldm", version, arg_required_else_help = true)]
#[command(after_help = "A first try: lldm run \"The spaceship\"")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a text, and watch the noise become words
    Run(Box<run::RunArgs>),
    /// Write the gaps of a text; all else comes back byte for byte
    Fill(Box<fill::FillArgs>),
    /// Replay a recorded run, or make a picture of it
    Trace(trace::TraceArgs),
    /// Train a model by a recipe
    Train(train::TrainArgs),
    /// List the recipes that come with the program, or copy one
    Recipes(recipes::RecipesArgs),
    /// List the corpora that recipes can name, or get one
    Data(data::DataArgs),
    /// Measure how probable a text is under a model
    Score(score::ScoreArgs),
    /// Measure a trained model on held-out text, and write its card
    Eval(eval::EvalArgs),
    /// Measure what a pass costs; beside another model, what few steps buy in speed and cost in quality; or the kernels
    Bench(bench::BenchArgs),
    /// Quantise a model, or pack it for the kernels of this CPU
    Convert(convert::ConvertArgs),
    /// Describe a model and its settings
    Show(show::ShowArgs),
    /// List the samplers with their parameters
    Samplers(samplers::SamplersArgs),
    /// List the forward processes with their parameters
    Noises(methods::MethodsArgs),
    /// List the training objectives with their parameters
    Objectives(methods::MethodsArgs),
    /// Describe this machine as the program sees it
    Doctor(doctor::DoctorArgs),
    /// Write a completion script for a shell to stdout
    Completions(completions::CompletionsArgs),
    /// Write the manual page to stdout
    Man(man::ManArgs),
}
