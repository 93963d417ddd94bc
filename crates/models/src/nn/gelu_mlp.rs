//! The plain feed-forward layer with GELU (Hendrycks and Gimpel 2016), without biases.

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};
use lldm_kernels::Gelu;

use super::candle::{Backend, ops};
use super::linear::Linear;
use super::slices::{slice, tensor};
use super::weights::{Init, Weights};
use crate::error::Result;

/// down(gelu(up(x))).
#[derive(Clone, Debug)]
pub struct GeluMlp {
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) form: Gelu,
    backend: Backend,
}

struct Activate(Gelu);

/// GELU of every value.
pub fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    Ok(x.apply_op1(Activate(form))?)
}

impl GeluMlp {
    /// Reads `{name}.up_proj` and `{name}.down_proj`, for width D and F inner units.
    pub fn new(weights: &mut dyn Weights, name: &str, width: usize, inner: usize, form: Gelu) -> Result<Self> {
        let spread = Init::Normal((width as f64).powf(-0.5));
        Ok(Self {
            up: Linear::new(weights, &format!("{name}.up_proj"), width, inner, spread)?,
            down: Linear::new(weights, &format!("{name}.down_proj"), inner, width, Init::Zeros)?,
            form,
            backend: weights.backend(),
        })
    }

    /// [N, D] to [N, D].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.up.forward(x)?;
        self.down.forward(&match self.backend {
            Backend::Kernels => gelu(&x, self.form)?,
            Backend::Candle(_) => ops::gelu(&x, self.form)?,
        })
    }
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut out = vec![0.0; x.len()];
        lldm_kernels::gelu(self.0, x, &mut out);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let mut grad = tensor(&grad.contiguous()?)?.to_vec();
        let mut out = tensor(x)?.to_vec();
        lldm_kernels::gelu_backward(self.0, &mut out, &mut grad);
        Ok(Some(Tensor::from_vec(out, x.shape(), &Device::Cpu)?))
    }
}
