//! The training step of a recipe's model by its parts, on synthetic tokens: no data is read, and nothing is written.

use std::time::Instant;

use lldm_diffusion::rng::Rng;
use lldm_models::Trunk;
use lldm_models::nn::backward;
use serde::Serialize;

use super::compare::{cpu_ms, median};
use super::stream::batch;
use crate::ema::Ema;
use crate::error::Result;
use crate::objective::Rows;
use crate::optimizer::Optimizer;
use crate::parameters::Parameters;
use crate::recipe::Recipe;
use crate::trainer::trunk_config;

/// Milliseconds of the parts of a step, each the median over the steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecipeStep {
    /// The number of parameters.
    pub parameters: usize,
    /// Tokens of a step.
    pub tokens: usize,
    /// Threads of the pool.
    pub threads: usize,
    /// Noise, forward pass and loss.
    pub forward_ms: f64,
    /// The reverse pass.
    pub backward_ms: f64,
    /// The optimizer's update.
    pub optimizer_ms: f64,
    /// The average of the parameters.
    pub ema_ms: f64,
    /// The whole step.
    pub step_ms: f64,
    /// Milliseconds of processor time of the whole step, all threads together, where the system tells.
    pub step_cpu_ms: Option<f64>,
    /// Tokens a second at the median step.
    pub tokens_per_second: f64,
    /// The loss of each step in nats per scored token.
    pub losses: Vec<f64>,
}

/// Makes `steps` updates of the recipe's model, the first of which is not timed.
pub fn recipe_step(recipe: &Recipe, steps: usize) -> Result<RecipeStep> {
    rayon::scope(|_| run(recipe, steps.max(2)))
}

fn run(recipe: &Recipe, steps: usize) -> Result<RecipeStep> {
    let objective = recipe.objective()?;
    let vocabulary = recipe.tokenizer.vocabulary;
    let config = trunk_config(recipe, objective.as_ref(), vocabulary);
    let mut parameters = Parameters::new(recipe.train.seed, recipe.train.precision);
    let trunk = Trunk::new(&config, &mut parameters)?;
    let mut optimizer = Optimizer::new(recipe.optimizer, &parameters);
    let mut ema = Ema::new(&parameters, recipe.train.ema)?;
    let (length, rows) = (recipe.data.length, recipe.train.batch);
    let scored = vec![true; rows * length];
    let mut times = vec![Vec::new(); 5];
    let (mut cpu_times, mut losses) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let tokens = batch(step, rows, length, vocabulary).targets;
        let cut = recipe.data.cuts[step % recipe.data.cuts.len()];
        let rows = Rows { tokens: &tokens, scored: &scored, length: length / cut };
        let (start, cpu_start) = (Instant::now(), cpu_ms());
        let loss = objective.loss(&trunk, &rows, &Rng::new(recipe.train.seed, 1).at(step, 0))?;
        let forward = start.elapsed();
        let grads = backward(&loss.tensor)?;
        let reversed = start.elapsed();
        optimizer.update(&parameters, &grads, step, recipe.train.steps)?;
        drop(grads);
        let updated = start.elapsed();
        ema.update(&parameters, step)?;
        let whole = start.elapsed();
        let cpu = cpu_ms().zip(cpu_start).map(|(end, start)| end - start);
        losses.push(loss.nats / loss.tokens as f64);
        if step > 0 {
            cpu_times.extend(cpu);
            let parts = [forward, reversed - forward, updated - reversed, whole - updated, whole];
            times.iter_mut().zip(parts).for_each(|(times, part)| times.push(1e3 * part.as_secs_f64()));
        }
    }
    let middle = |part: usize| median(&times[part]);
    Ok(RecipeStep {
        parameters: parameters.count(),
        tokens: rows * length,
        threads: rayon::current_num_threads(),
        forward_ms: middle(0),
        backward_ms: middle(1),
        optimizer_ms: middle(2),
        ema_ms: middle(3),
        step_ms: middle(4),
        step_cpu_ms: (cpu_times.len() == times[4].len()).then(|| median(&cpu_times)),
        tokens_per_second: 1e3 * (rows * length) as f64 / middle(4),
        losses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_step_make_the_whole() {
        let text = r#"
            name = "small"
            output = "unset"
            data = { corpora = ["grammar"], length = 16, cuts = [1, 2] }
            tokenizer = { vocabulary = 300 }
            model = { hidden_size = 32, layers = 2, heads = 2, intermediate_size = 48 }
            objective = { name = "autoregressive" }
            optimizer = { learning_rate = 0.02, schedule = { warmup_steps = 1 } }
            train = { steps = 200, batch = 32, precision = "bf16" }
        "#;
        let found = recipe_step(&Recipe::parse(text, "small.toml", &[]).expect("a recipe"), 41).expect("a step");
        assert_eq!((found.tokens, found.losses.len()), (512, 41));
        let parts = found.forward_ms + found.backward_ms + found.optimizer_ms + found.ema_ms;
        assert!(parts > 0.5 * found.step_ms && parts < 1.5 * found.step_ms, "{found:?}");
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&found.losses[31..]) < 0.95 * mean(&found.losses[..10]), "{:?}", found.losses);
    }
}
