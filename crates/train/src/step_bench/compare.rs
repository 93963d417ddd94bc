//! Both networks on the same tokens from the same parameters, step by step in turns.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::candle_network::CandleNetwork;
use super::own_network::OwnNetwork;
use super::stream::batch;
use crate::error::{Error, Result};
use crate::optimizer::{LearningRate, OptimizerConfig};

/// The transformer and how long it is trained: pre-norm, full attention without positions, GELU, an output projection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepBenchConfig {
    /// Layers.
    pub layers: usize,
    /// D.
    pub width: usize,
    /// H.
    pub heads: usize,
    /// Inner units of the feed-forward layers.
    pub inner: usize,
    /// L.
    pub length: usize,
    /// B.
    pub batch: usize,
    /// V.
    pub vocabulary: usize,
    /// Epsilon of the norms.
    pub eps: f64,
    /// AdamW's learning rate.
    pub learning_rate: f64,
    /// Updates of each network, the first of which is not timed.
    pub steps: usize,
}

/// What one network did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Tokens a second at the median step.
    pub tokens_per_second: f64,
    /// Tokens a second of processor time, all threads together, at the median step: what a shared machine does not disturb. None
    /// where the system does not tell.
    pub tokens_per_cpu_second: Option<f64>,
    /// Milliseconds of each timed step.
    pub step_ms: Vec<f64>,
    /// Milliseconds of processor time of each timed step, where the system tells.
    pub cpu_ms: Vec<f64>,
    /// The loss of each step in nats per cell, before its update.
    pub losses: Vec<f64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepBench {
    /// The network.
    pub config: StepBenchConfig,
    /// The number of parameters.
    pub parameters: usize,
    /// Threads of the pool.
    pub threads: usize,
    /// The kernel of our products.
    pub kernel: String,
    /// candle's operations in f32.
    pub candle: Side,
    /// Ours: bf16 products, f32 parameters and sums.
    pub own: Side,
    /// Our tokens a second over candle's.
    pub ratio: f64,
    /// The same by processor time.
    pub cpu_ratio: Option<f64>,
    /// The largest difference of the two losses of a step, in nats.
    pub largest_loss_difference: f64,
}

impl Default for StepBenchConfig {
    /// 16.9 M parameters: 6 layers of 384, sequences of 256, a batch of 16, a vocabulary of 8,192.
    fn default() -> Self {
        Self {
            layers: 6,
            width: 384,
            heads: 6,
            inner: 1536,
            length: 256,
            batch: 16,
            vocabulary: 8192,
            eps: 1e-5,
            learning_rate: 1e-3,
            steps: 6,
        }
    }
}

/// Trains both networks in turns.
pub fn step_bench(config: &StepBenchConfig) -> Result<StepBench> {
    let fits = config.heads > 0 && config.width.is_multiple_of(config.heads) && config.vocabulary > 2;
    if !fits || [config.layers, config.inner, config.length, config.batch].contains(&0) || config.steps < 2 {
        let message = "it needs whole heads, sizes above 0, a vocabulary above 2 and at least 2 steps";
        return Err(Error::recipe(format!("{config:?}"), message));
    }
    let kernel = lldm_kernels::selected_kernel().map_err(|error| Error::recipe("LLDM_KERNEL", error))?;
    let schedule = LearningRate { warmup_steps: 4, ..LearningRate::default() };
    let optimizer = OptimizerConfig { learning_rate: config.learning_rate, clip: 0.0, schedule, ..Default::default() };
    let mut own = OwnNetwork::new(*config, optimizer)?;
    let mut candle = CandleNetwork::new(*config, optimizer, &own.parameters)?;
    let mut sides = [Side::new(), Side::new()];
    for step in 0..config.steps {
        let batch = batch(step, config.batch, config.length, config.vocabulary);
        sides[0].add(step, || candle.step(&batch, step))?;
        sides[1].add(step, || rayon::scope(|_| own.step(&batch, step)))?;
    }
    let tokens = config.batch * config.length;
    let [candle, own_side] = sides.map(|side| side.finished(tokens));
    let differences = candle.losses.iter().zip(&own_side.losses).map(|(a, b)| (a - b).abs());
    Ok(StepBench {
        config: *config,
        parameters: own.parameters.count(),
        threads: rayon::current_num_threads(),
        kernel: kernel.to_string(),
        cpu_ratio: own_side.tokens_per_cpu_second.zip(candle.tokens_per_cpu_second).map(|(own, candle)| own / candle),
        ratio: own_side.tokens_per_second / candle.tokens_per_second,
        largest_loss_difference: differences.fold(0.0, f64::max),
        candle,
        own: own_side,
    })
}

impl Side {
    fn new() -> Self {
        Self {
            tokens_per_second: 0.0,
            tokens_per_cpu_second: None,
            step_ms: Vec::new(),
            cpu_ms: Vec::new(),
            losses: Vec::new(),
        }
    }

    fn add(&mut self, step: usize, run: impl FnOnce() -> Result<f64>) -> Result<()> {
        let (start, cpu_start) = (Instant::now(), cpu_ms());
        let loss = run()?;
        let ms = 1e3 * start.elapsed().as_secs_f64();
        let cpu = cpu_ms().zip(cpu_start).map(|(end, start)| end - start);
        if !loss.is_finite() {
            return Err(Error::Diverged { step, what: "loss", value: loss });
        }
        self.losses.push(loss);
        if step > 0 {
            self.step_ms.push(ms);
            self.cpu_ms.extend(cpu);
        }
        Ok(())
    }

    fn finished(mut self, tokens: usize) -> Self {
        let rate = |ms: &[f64]| 1e3 * tokens as f64 / median(ms);
        self.tokens_per_second = rate(&self.step_ms);
        self.tokens_per_cpu_second = (self.cpu_ms.len() == self.step_ms.len()).then(|| rate(&self.cpu_ms));
        self
    }
}

/// The processor time of all threads of this process so far, from Linux's `schedstat`.
pub(super) fn cpu_ms() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e6)
}

/// The median of some times.
pub(super) fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the same parameters on the same tokens both learn the same.
    #[test]
    fn both_networks_have_the_same_loss_curve() {
        let config = StepBenchConfig {
            layers: 2,
            width: 32,
            heads: 2,
            inner: 64,
            length: 32,
            batch: 8,
            vocabulary: 60,
            learning_rate: 1e-2,
            steps: 40,
            ..StepBenchConfig::default()
        };
        let found = step_bench(&config).expect("a bench");
        let (first, last) = (found.own.losses[0], found.own.losses[39]);
        assert!(last < 0.8 * first, "it learns: from {first} to {last}");
        assert!((found.own.losses[0] - found.candle.losses[0]).abs() < 1e-3);
        assert!(found.largest_loss_difference < 0.05 * last, "{found:?}");
        assert_eq!(found.own.step_ms.len(), 39);
        assert_eq!(found.parameters, 2 * 60 * 32 + 2 * (4 * 32 * 32 + 2 * 32 * 64 + 2 * 32) + 32);
        assert!(step_bench(&StepBenchConfig { heads: 5, ..config }).is_err());
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
    }
}
