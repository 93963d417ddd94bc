//! The gated feed-forward layer SwiGLU (Shazeer 2020, "GLU variants improve transformer").

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};

use super::candle::{Backend, ops};
use super::linear::Linear;
use super::slices::{slice, tensor};
use super::weights::{Init, Weights};
use crate::error::Result;

/// down(silu(gate(x)) * up(x)).
#[derive(Clone, Debug)]
pub struct SwiGlu {
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
    backend: Backend,
}

struct Gate;

impl SwiGlu {
    /// Reads `{name}.gate_proj`, `{name}.up_proj` and `{name}.down_proj`, for width D and F inner units.
    pub fn new(weights: &mut dyn Weights, name: &str, width: usize, inner: usize) -> Result<Self> {
        let spread = Init::Normal((width as f64).powf(-0.5));
        Ok(Self {
            gate: Linear::new(weights, &format!("{name}.gate_proj"), width, inner, spread)?,
            up: Linear::new(weights, &format!("{name}.up_proj"), width, inner, spread)?,
            down: Linear::new(weights, &format!("{name}.down_proj"), inner, width, Init::Zeros)?,
            backend: weights.backend(),
        })
    }

    /// [N, D] to [N, D].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (gate, up) = (self.gate.forward(x)?, self.up.forward(x)?);
        self.down.forward(&match self.backend {
            Backend::Kernels => gate.apply_op2(&up, Gate)?,
            Backend::Candle(_) => ops::swiglu(&gate, &up)?,
        })
    }
}

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(gate, gate_layout)?, slice(up, up_layout)?);
        let mut out = vec![0.0; gate.len()];
        lldm_kernels::swiglu(gate, up, &mut out);
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let shape = gate.shape();
        let grad = grad.contiguous()?;
        let (gate, up, grad) = (tensor(gate)?, tensor(up)?, tensor(&grad)?);
        let (mut grad_gate, mut grad_up) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
        lldm_kernels::swiglu_backward(&gate, &up, &grad, &mut grad_gate, &mut grad_up);
        let device = &candle_core::Device::Cpu;
        Ok((Some(Tensor::from_vec(grad_gate, shape, device)?), Some(Tensor::from_vec(grad_up, shape, device)?)))
    }
}
