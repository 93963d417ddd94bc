//! One optimizer over all parameters: Muon for the matrices inside the network if asked for, AdamW for the rest.

use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{AdamW, LearningRate, Muon};
use crate::error::Result;
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
    Muon(Muon),
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
            let matrix = var.dims().len() == 2;
            let decay = if matrix { config.weight_decay } else { 0.0 };
            // The embedding is also the output projection: it stays with AdamW, as Muon's authors have it.
            if config.muon_learning_rate > 0.0 && matrix && !name.contains("embed") {
                Rule::Muon(Muon::new(var.elem_count(), config.momentum, decay))
            } else {
                Rule::AdamW(AdamW::new(var.elem_count(), config.betas, decay))
            }
        };
        Self { config, rules: parameters.iter().map(|(name, var)| (name.to_string(), rule(name, var))).collect() }
    }

    /// Makes update `step` (from 0) of `steps`; returns the norm of the gradient before clipping.
    pub fn update(&mut self, parameters: &Parameters, grads: &GradStore, step: usize, steps: usize) -> Result<f64> {
        let factor = self.config.schedule.factor(step, steps);
        let mut flat: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
        for (name, var) in parameters.iter() {
            if let Some(grad) = grads.get(var) {
                flat.insert(name, grad.flatten_all()?.to_vec1()?);
            }
        }
        let norm = flat.values().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let scale = clip_factor(norm, self.config.clip);
        for (name, var) in parameters.iter() {
            let (Some(grad), Some(rule)) = (flat.get(name), self.rules.get_mut(name)) else { continue };
            let mut values: Vec<f32> = var.flatten_all()?.to_vec1()?;
            match rule {
                Rule::AdamW(rule) => {
                    rule.update(&mut values, grad, scale, self.config.learning_rate * factor, step + 1);
                }
                Rule::Muon(rule) => {
                    let rate = self.config.muon_learning_rate * factor;
                    rule.update(&mut values, var.dims2()?, grad, scale, rate);
                }
            }
            var.set(&Tensor::from_vec(values, var.dims(), &Device::Cpu)?)?;
        }
        Ok(norm)
    }

    /// The state by name, for a checkpoint.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut out = HashMap::new();
        for (name, rule) in &self.rules {
            let parts: Vec<(&str, &Vec<f32>)> = match rule {
                Rule::AdamW(rule) => vec![("first", &rule.moments[0]), ("second", &rule.moments[1])],
                Rule::Muon(rule) => vec![("momentum", &rule.momentum)],
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
                Rule::Muon(rule) => vec![("momentum", &mut rule.momentum)],
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
