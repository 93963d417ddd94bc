//! The trainable parameters: drawn from a seed, named as in the checkpoint, in a fixed order.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};

use lldm_diffusion::rng::{Purpose, Rng};
use lldm_models::nn::{Init, Precision, Weights};

/// The parameters of a model in training, by name.
#[derive(Clone, Debug)]
pub struct Parameters {
    vars: BTreeMap<String, Var>,
    seed: u64,
    precision: Precision,
}

impl Parameters {
    /// No parameters yet: a model built on this source adds its own.
    pub fn new(seed: u64, precision: Precision) -> Self {
        Self { vars: BTreeMap::new(), seed, precision }
    }

    /// The parameters in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// How many numbers they hold.
    pub fn count(&self) -> usize {
        self.vars.values().map(|var| var.elem_count()).sum()
    }

    /// The values by name, for a checkpoint.
    pub fn tensors(&self) -> HashMap<String, Tensor> {
        self.vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
    }
}

impl Weights for Parameters {
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> lldm_models::Result<Tensor> {
        let count = shape.iter().product();
        let values = match init {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Normal(deviation) => gaussian(self.seed, name, count, deviation),
        };
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?;
        let tensor = var.as_tensor().clone();
        self.vars.insert(name.to_string(), var);
        Ok(tensor)
    }

    fn precision(&self) -> Precision {
        self.precision
    }
}

/// Gaussian numbers that depend on the seed and the parameter's name alone (Box-Muller).
fn gaussian(seed: u64, name: &str, count: usize, deviation: f64) -> Vec<f32> {
    // FNV-1a of the name numbers the stream.
    let stream = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let rng = Rng::new(seed, stream);
    (0..count)
        .map(|index| {
            let rng = rng.at(index >> 16, 0);
            let (radius, angle) =
                (rng.uniform(index & 0xFFFF, Purpose::Token), rng.uniform(index & 0xFFFF, Purpose::Time));
            ((-2.0 * radius.ln()).sqrt() * (2.0 * std::f64::consts::PI * angle).cos() * deviation) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_gaussian_and_depend_on_seed_and_name() {
        let values = gaussian(3, "a", 100_000, 0.5);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 0.25).abs() < 0.01);
        assert_eq!(values, gaussian(3, "a", 100_000, 0.5));
        assert_ne!(values[..10], gaussian(4, "a", 10, 0.5));
        assert_ne!(values[..10], gaussian(3, "b", 10, 0.5));
    }
}
