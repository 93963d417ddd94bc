//! Prints the speed of training steps: `cargo run --release -p lldm-train --example step_rate [STEPS] [RECIPE.toml]`.
//! Without a recipe: one transformer by candle's operations and by ours, in turns. With one: its model's step by parts.
#![allow(clippy::print_stdout)]

use std::path::Path;

use lldm_train::Recipe;
use lldm_train::step_bench::{StepBenchConfig, recipe_step, step_bench};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let steps = arguments.first().map(|steps| steps.parse()).transpose()?;
    if let Some(recipe) = arguments.get(1) {
        let found = recipe_step(&Recipe::read(Path::new(recipe), &[])?, steps.unwrap_or(13))?;
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let config = StepBenchConfig::default();
    let found = step_bench(&StepBenchConfig { steps: steps.unwrap_or(config.steps), ..config })?;
    println!("{} parameters, {} threads, kernel {}", found.parameters, found.threads, found.kernel);
    for (name, side) in [("candle, f32", &found.candle), ("ours, bf16", &found.own)] {
        let losses: Vec<_> = side.losses.iter().map(|loss| format!("{loss:.4}")).collect();
        let cpu = side.tokens_per_cpu_second.unwrap_or(f64::NAN);
        println!("{name}: {:.0} tokens/s, {cpu:.0} a CPU second; losses {}", side.tokens_per_second, losses.join(" "));
    }
    let (cpu, apart) = (found.cpu_ratio.unwrap_or(f64::NAN), found.largest_loss_difference);
    println!(
        "{:.2} times candle, {cpu:.2} times by processor time; the losses part by at most {apart:.4}",
        found.ratio
    );
    Ok(())
}
