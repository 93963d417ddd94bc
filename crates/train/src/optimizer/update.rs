//! One optimizer over all parameters: Muon for the matrices inside the network if asked for, AdamW for the rest.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use lldm_kernels::vector::sum_of_squares;
use lldm_models::nn::{Gradients, change_values};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{AdamW, LearningRate, Muon};
use crate::error::{Error, Result};
use crate::parameters::Parameters;

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// AdamW's peak learning rate.
    pub learning_rate: f64,
    /// Muon's peak learning rate; 0 leaves every parameter to AdamW.
    pub muon_learning_rate: f64,
    /// AdamW's decay rates.
    pub betas: (f64, f64),
    /// Muon's momentum.
    pub momentum: f64,
    /// Weight decay on matrices, as a share of the learning rate.
    pub weight_decay: f64,
    /// The largest norm of the gradient; larger ones are scaled down.
    pub clip: f64,
    /// Warmup and decay.
    pub schedule: LearningRate,
}

/// The optimizer's state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    rules: BTreeMap<String, Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    AdamW(AdamW),
    /// With the matrix's rows and columns.
    Muon(Muon, (usize, usize)),
}

/// The factor that brings a gradient of this norm down to `clip`.
pub fn clip_factor(norm: f64, clip: f64) -> f64 {
    if clip > 0.0 && norm > clip { clip / norm } else { 1.0 }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 3e-3,
            muon_learning_rate: 0.0,
            betas: (0.9, 0.95),
            momentum: 0.95,
            weight_decay: 0.1,
            clip: 1.0,
            schedule: LearningRate::default(),
        }
    }
}

impl Optimizer {
    /// Fresh state for these parameters.
    pub fn new(config: OptimizerConfig, parameters: &Parameters) -> Self {
        let rule = |name: &str, var: &candle_core::Var| {
            let matrix = var.dims2().ok();
            let decay = if matrix.is_some() { config.weight_decay } else { 0.0 };
            match matrix {
                // The embedding is also the output projection: it stays with AdamW, as Muon's authors have it.
                Some(shape) if config.muon_learning_rate > 0.0 && !name.contains("embed") => {
                    Rule::Muon(Muon::new(var.elem_count(), config.momentum, decay), shape)
                }
                _ => Rule::AdamW(AdamW::new(var.elem_count(), config.betas, decay)),
            }
        };
        Self { config, rules: parameters.iter().map(|(name, var)| (name.to_string(), rule(name, var))).collect() }
    }

    /// Makes update `step` (from 0) of `steps`; returns the norm of the gradient before clipping.
    pub fn update(&mut self, parameters: &Parameters, grads: &Gradients, step: usize, steps: usize) -> Result<f64> {
        let factor = self.config.schedule.factor(step, steps);
        let mut squares = 0.0;
        for (_, var) in parameters.iter() {
            squares += grads.with(var, sum_of_squares)?.unwrap_or(0.0);
        }
        let norm = squares.sqrt();
        let scale = clip_factor(norm, self.config.clip);
        let (rate, muon_rate) = (self.config.learning_rate * factor, self.config.muon_learning_rate * factor);
        // Parameters side by side: the products of one matrix are too small to share well.
        let pairs: Vec<_> = parameters.iter().zip(&mut self.rules).collect();
        pairs.into_par_iter().try_for_each(|((_, var), (_, rule))| {
            let done = grads.with(var, |grad| {
                change_values(var, |values| match rule {
                    Rule::AdamW(rule) => rule.update(values, grad, scale, rate, step + 1),
                    Rule::Muon(rule, shape) => rule.update(values, *shape, grad, scale, muon_rate),
                })
            })?;
            Ok::<_, Error>(done.transpose().map(|_| ())?)
        })?;
        Ok(norm)
    }

    /// The state by name, for a checkpoint.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut out = HashMap::new();
        for (name, rule) in &self.rules {
            let parts: Vec<(&str, &Vec<f32>)> = match rule {
                Rule::AdamW(rule) => vec![("first", &rule.moments[0]), ("second", &rule.moments[1])],
                Rule::Muon(rule, _) => vec![("momentum", &rule.momentum)],
            };
            for (part, values) in parts {
                out.insert(format!("{part}.{name}"), Tensor::new(values.as_slice(), &Device::Cpu)?);
            }
        }
        Ok(out)
    }

    /// Puts back stored state.
    pub fn restore(&mut self, stored: &HashMap<String, Tensor>) -> Result<()> {
        for (name, rule) in &mut self.rules {
            let parts: Vec<(&str, &mut Vec<f32>)> = match rule {
                Rule::AdamW(rule) => {
                    let [first, second] = &mut rule.moments;
                    vec![("first", first), ("second", second)]
                }
                Rule::Muon(rule, _) => vec![("momentum", &mut rule.momentum)],
            };
            for (part, values) in parts {
                if let Some(tensor) = stored.get(&format!("{part}.{name}")) {
                    *values = tensor.to_vec1()?;
                }
            }
        }
        Ok(())
    }
}
