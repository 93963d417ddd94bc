//! Random weights, made in place and quantised on request: a big model's speed can be measured without its file.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use lldm_diffusion::rng::stream;
use lldm_kernels::quant::random_blocks;
use lldm_kernels::{Bf16Packer, Layout, PackedQuant, QuantFormat};

use crate::error::{Error, Result};
use crate::nn::{Backend, Blocks, Init, Linear, Weights};

/// Rows of a layer that are made at a time.
const ROWS: usize = 512;

/// A source of random parameters.
#[derive(Clone, Debug)]
pub struct RandomWeights {
    seed: u64,
    quant: Option<QuantFormat>,
    layers: u64,
    backend: Backend,
}

impl RandomWeights {
    /// Layers in this format, or in bf16; those whose rows are no whole blocks of it are Q8_0, or bf16. The same seed gives the
    /// same weights.
    pub fn new(seed: u64, quant: Option<QuantFormat>) -> Self {
        Self { seed, quant, layers: 0, backend: Backend::Kernels }
    }

    /// The same for layers of that backend.
    #[must_use]
    pub fn on(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// The next key, and values around zero of that spread under it.
    fn values(&mut self, count: usize, spread: f64) -> Vec<f32> {
        self.layers += 1;
        let key = stream(self.seed, self.layers);
        // Uniform with the wanted standard deviation.
        let width = spread * 12f64.sqrt();
        (0..count as u64).map(|i| (((stream(key, i) >> 11) as f64 * 2f64.powi(-53) - 0.5) * width) as f32).collect()
    }
}

/// The spread of a new weight; what begins with zeros is spread, too, so that no layer is spared.
fn spread(init: Init) -> f64 {
    match init {
        Init::Normal(spread) => spread,
        Init::Zeros | Init::Ones => 0.02,
    }
}

impl Weights for RandomWeights {
    fn get(&mut self, _: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let count = shape.iter().product();
        let values = if init == Init::Ones { vec![1.0; count] } else { self.values(count, spread(init)) };
        Ok(Tensor::from_vec(values, shape, self.backend.device())?)
    }

    fn backend(&self) -> Backend {
        self.backend.clone()
    }

    fn linear(&mut self, name: &str, [outputs, inputs]: [usize; 2], init: Init) -> Result<Linear> {
        let fits = |format: &QuantFormat| inputs.is_multiple_of(format.block_len());
        if let Some(format) = self.quant.and_then(|format| [format, QuantFormat::Q8_0].into_iter().find(fits)) {
            self.layers += 1;
            let key = stream(self.seed, self.layers);
            let blocks = random_blocks(format, [outputs, inputs], spread(init) as f32, key);
            let mistake = |error: &dyn std::fmt::Display| Error::format(name, error);
            let blocks = blocks.ok_or_else(|| mistake(&"is larger than any memory"))?;
            if let Backend::Candle(candle) = &self.backend {
                let blocks = Blocks { format, range: 0..blocks.len(), bytes: Arc::new(blocks) };
                return Linear::quant_on_candle([outputs, inputs], blocks, candle);
            }
            let packed = PackedQuant::pack(format, [outputs, inputs], &blocks).map_err(|error| mistake(&error))?;
            return Ok(packed.into());
        }
        if let Backend::Candle(candle) = self.backend.clone() {
            let values = self.values(outputs * inputs, spread(init));
            return Linear::on_candle(&Tensor::from_vec(values, (outputs, inputs), &Device::Cpu)?, &candle);
        }
        let mut packer = Bf16Packer::new([inputs, outputs]);
        for first in (0..outputs).step_by(ROWS) {
            let rows = ROWS.min(outputs - first);
            let values = self.values(rows * inputs, spread(init));
            packer.add(&values, Layout::row_major(rows, inputs).transposed());
        }
        Ok(packer.finish().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::StorageKind;

    #[test]
    fn layers_are_stored_as_asked_where_their_rows_fit() {
        let kind = |quant, inputs| {
            let layer = RandomWeights::new(1, quant).linear("layer", [40, inputs], Init::Normal(0.1)).expect("a layer");
            let x = Tensor::ones((3, inputs), candle_core::DType::F32, &Device::Cpu).expect("ones");
            let y = layer.forward(&x).and_then(|y| Ok(y.flatten_all()?.to_vec1::<f32>()?)).expect("a product");
            assert!(y.iter().any(|y| *y != 0.0) && y[..40] == y[80..]);
            layer.kind()
        };
        assert_eq!(kind(None, 48), StorageKind::PackedBf16);
        assert_eq!(kind(Some(QuantFormat::Q4K), 512), StorageKind::Quant(QuantFormat::Q4K));
        assert_eq!(kind(Some(QuantFormat::Q4K), 96), StorageKind::Quant(QuantFormat::Q8_0));
        assert_eq!(kind(Some(QuantFormat::Q4K), 48), StorageKind::PackedBf16);
        let mut weights = RandomWeights::new(2, None);
        let first = weights.get("a", &[1000], Init::Normal(0.5)).and_then(|t| Ok(t.to_vec1::<f32>()?)).expect("values");
        let second =
            weights.get("b", &[1000], Init::Normal(0.5)).and_then(|t| Ok(t.to_vec1::<f32>()?)).expect("values");
        assert_ne!(first, second);
        let square: f64 = first.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 1000.0;
        assert!((square.sqrt() - 0.5).abs() < 0.03, "{square}");
    }
}
