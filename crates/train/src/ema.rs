//! An exponential moving average of the parameters; it is what a checkpoint serves for inference.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use lldm_kernels::vector::approach;
use lldm_models::nn::with_values;

use crate::error::Result;
use crate::parameters::Parameters;

/// The averaged values by name.
#[derive(Clone, Debug)]
pub struct Ema {
    decay: f64,
    values: BTreeMap<String, Vec<f32>>,
}

impl Ema {
    /// Starts at the present values.
    pub fn new(parameters: &Parameters, decay: f64) -> Result<Self> {
        let values = parameters.iter().map(|(name, var)| Ok((name.to_string(), var.flatten_all()?.to_vec1()?)));
        Ok(Self { decay, values: values.collect::<Result<_>>()? })
    }

    /// Takes in the values after `step` updates. Early on the average is short: decay <= (1 + step) / (10 + step).
    pub fn update(&mut self, parameters: &Parameters, step: usize) -> Result<()> {
        let decay = self.decay.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        for (name, var) in parameters.iter() {
            if let Some(average) = self.values.get_mut(name) {
                with_values(var, |now| approach(1.0 - decay, average, now))?;
            }
        }
        Ok(())
    }

    /// The averaged tensors, in the shapes of the parameters.
    pub fn tensors(&self, parameters: &Parameters) -> Result<BTreeMap<String, Tensor>> {
        let tensor = |(name, var): (&str, &candle_core::Var)| {
            let values = self.values.get(name).cloned().unwrap_or_default();
            Ok((name.to_string(), Tensor::from_vec(values, var.dims(), &Device::Cpu)?))
        };
        parameters.iter().map(tensor).collect()
    }

    /// Puts back stored averages.
    pub fn restore(&mut self, stored: &std::collections::HashMap<String, Tensor>) -> Result<()> {
        for (name, average) in &mut self.values {
            if let Some(tensor) = stored.get(name) {
                *average = tensor.flatten_all()?.to_vec1()?;
            }
        }
        Ok(())
    }
}
