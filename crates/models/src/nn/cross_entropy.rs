//! The weighted cross-entropy over the vocabulary, in one pass each way.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use super::slices::{slice, tensor};
use crate::error::Result;

/// What is to be predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossEntropy {
    /// The right token of each of N rows.
    pub targets: Vec<u32>,
    /// The weight of each row.
    pub weights: Vec<f32>,
    /// A token whose probability is zero: the mask (SUBS, Sahoo et al. 2024, section 3.2.3).
    pub banned: Option<u32>,
}

struct Weighted {
    spec: CrossEntropy,
    log_sum_exp: OnceLock<Vec<f32>>,
}

/// The sum over N rows of weight * -ln softmax(logits) at the target: [N, V] to a scalar.
pub fn cross_entropy(logits: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
    Ok(logits.apply_op1(Weighted { spec, log_sum_exp: OnceLock::new() })?)
}

impl Weighted {
    fn kernel<'a>(&'a self, logits: &'a [f32], vocabulary: usize) -> lldm_kernels::CrossEntropy<'a> {
        lldm_kernels::CrossEntropy {
            logits,
            vocabulary,
            targets: &self.spec.targets,
            weights: &self.spec.weights,
            banned: self.spec.banned.map(|token| token as usize),
        }
    }
}

impl CustomOp1 for Weighted {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, vocabulary) = layout.shape().dims2()?;
        let (mut losses, mut log_sum_exp) = (vec![0.0; rows], vec![0.0; rows]);
        let loss = self.kernel(slice(logits, layout)?, vocabulary).forward(&mut losses, &mut log_sum_exp);
        let _ = self.log_sum_exp.set(log_sum_exp);
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let values = tensor(logits)?;
        let mut out = vec![0.0; values.len()];
        let lse = self.log_sum_exp.get().map_or(&[][..], Vec::as_slice);
        self.kernel(&values, logits.dim(1)?).backward(lse, grad.to_scalar::<f32>()?, &mut out);
        Ok(Some(Tensor::from_vec(out, logits.shape(), &Device::Cpu)?))
    }
}
