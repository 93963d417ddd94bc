//! The projection to the vocabulary and its cross-entropy as one op, in bf16: the logits of some rows at a time become their own
//! gradient while they are in the cache, and no matrix [N, V] is held twice.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Shape, Tensor};
use lldm_kernels::gemm::{self, gemm_bf16, gemm_bf16_packed, pack_bf16};

use super::buffer::Buffer;
use super::cross_entropy::CrossEntropy;
use super::gradients::written;
use super::slices::{slice, tensor};
use crate::error::Result;

/// Rows whose logits are made together.
const ROWS: usize = 240;

struct Scored {
    spec: CrossEntropy,
    /// The gradient of the logits [N, V] from the forward pass; none where nobody will ask for it.
    kept: Option<Mutex<Option<Buffer>>>,
}

/// The sum over N rows of weight * -ln softmax(W hidden) at the target: hidden [N, D] and W [V, D] to a scalar.
pub(super) fn scored(hidden: &Tensor, weight: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
    let kept = (hidden.track_op() || weight.track_op()).then(Mutex::default);
    Ok(hidden.apply_op2(weight, Scored { spec, kept })?)
}

impl CustomOp2 for Scored {
    fn name(&self) -> &'static str {
        "projection_cross_entropy"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((count, width), vocabulary) = (hidden_layout.shape().dims2()?, weight_layout.shape().dims2()?.0);
        let CrossEntropy { targets, weights, banned } = &self.spec;
        if targets.len() != count || weights.len() != count {
            candle_core::bail!("{} targets and {} weights for {count} rows", targets.len(), weights.len());
        }
        let (hidden, banned) = (slice(hidden, hidden_layout)?, banned.map(|token| token as usize));
        let layout = gemm::Layout::row_major(vocabulary, width).transposed();
        let packed = pack_bf16(slice(weight, weight_layout)?, layout);
        let whole = if self.kept.is_some() { count } else { count.min(ROWS) };
        let mut logits = Buffer::new(whole * vocabulary);
        let mut losses = vec![0.0; count];
        for (chunk, losses) in losses.chunks_mut(ROWS).enumerate() {
            let (start, rows) = (chunk * ROWS, losses.len());
            let at = if self.kept.is_some() { start } else { 0 };
            let logits = &mut logits[at * vocabulary..(at + rows) * vocabulary];
            let x = &hidden[start * width..(start + rows) * width];
            gemm_bf16_packed(x, gemm::Layout::row_major(rows, width), &packed, logits);
            let (targets, weights) = (&targets[start..][..rows], &weights[start..][..rows]);
            if self.kept.is_some() {
                lldm_kernels::cross_entropy_in_place(logits, vocabulary, targets, weights, banned, losses);
            } else {
                let rows = lldm_kernels::CrossEntropy { logits, vocabulary, targets, weights, banned };
                rows.forward(losses, &mut vec![0.0; targets.len()]);
            }
        }
        if let Some(kept) = &self.kept {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(logits);
        }
        let pairs = weights.iter().zip(&losses).filter(|(weight, _)| **weight != 0.0);
        let loss: f64 = pairs.map(|(weight, loss)| f64::from(*weight) * f64::from(*loss)).sum();
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.kept.as_ref().and_then(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(logits) = kept else {
            return Err(candle_core::Error::Msg("the gradients of a scored projection are had once".to_string()).bt());
        };
        let upstream = grad.to_scalar::<f32>()?;
        let ((count, width), vocabulary) = (hidden.dims2()?, weight.dim(0)?);
        let layout = gemm::Layout::row_major(count, vocabulary);
        let scale = |values: &mut [f32]| {
            if upstream != 1.0 {
                values.iter_mut().for_each(|value| *value *= upstream);
            }
        };
        let mut grad_hidden = vec![0.0; count * width];
        gemm_bf16(&logits, layout, &tensor(weight)?, gemm::Layout::row_major(vocabulary, width), &mut grad_hidden);
        scale(&mut grad_hidden);
        let values = tensor(hidden)?;
        let grad_weight = written(weight, |out| {
            gemm_bf16(&logits, layout.transposed(), &values, gemm::Layout::row_major(count, width), out);
            scale(out);
        })?;
        Ok((Some(Tensor::from_vec(grad_hidden, (count, width), &Device::Cpu)?), grad_weight))
    }
}
