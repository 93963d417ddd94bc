//! RMSNorm (Zhang and Sennrich 2019): x / rms(x) * weight over the last dimension.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Tensor};

use super::candle::{Backend, ops};
use super::gradients::written;
use super::slices::{slice, tensor};
use super::weights::{Init, Weights};
use crate::error::Result;

/// The norm of vectors of one width.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
    backend: Backend,
}

struct Normalise {
    eps: f32,
}

impl RmsNorm {
    /// Reads `{name}.weight`, `[width]`.
    pub fn new(weights: &mut dyn Weights, name: &str, width: usize, eps: f64) -> Result<Self> {
        let weight = weights.get(&format!("{name}.weight"), &[width], Init::Ones)?;
        Ok(Self { weight, eps: eps as f32, backend: weights.backend() })
    }

    /// The weight `[width]`.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub(super) fn eps(&self) -> f32 {
        self.eps
    }

    /// [.., width] to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.backend {
            Backend::Kernels => x.apply_op2(&self.weight, Normalise { eps: self.eps })?,
            Backend::Candle(_) => ops::rms_norm(x, &self.weight, self.eps)?,
        })
    }
}

impl CustomOp2 for Normalise {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let mut out = vec![0.0; x.len()];
        lldm_kernels::rms_norm(x, weight, self.eps, &mut out);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (values, scales, grads) = (tensor(x)?, tensor(weight)?, tensor(&grad)?);
        let mut grad_x = vec![0.0; values.len()];
        let grad_weight = written(weight, |out| {
            lldm_kernels::rms_norm_backward(&values, &scales, self.eps, &grads, &mut grad_x, out);
        })?;
        Ok((Some(Tensor::from_vec(grad_x, x.shape(), &Device::Cpu)?), grad_weight))
    }
}
