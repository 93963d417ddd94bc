//! The projection to the vocabulary and its cross-entropy as one op, in bf16: the logits of some rows at a time become their own
//! gradient and go on to those of the projection's input and weight while they are in the cache. So the work of the reverse
//! pass is done in the forward pass, and no matrix [N, V] is ever held.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use lldm_kernels::gemm::{self, PackedBf16, gemm_bf16_packed, pack_bf16};
use lldm_kernels::vector;

use super::buffer::Buffer;
use super::cross_entropy::CrossEntropy;
use super::gradients::written;
use super::slices::slice;
use super::weight_gradient::{ROWS, add_block};
use crate::error::Result;

/// Rows whose logits are made together.
const CHUNK: usize = 256;

struct Scored {
    spec: CrossEntropy,
    /// From the forward pass; none where nobody will ask for it.
    kept: Option<Mutex<Option<Kept>>>,
}

/// The gradients of the loss to hidden [N, D] and to the weight [V, D].
struct Kept {
    hidden: Buffer,
    weight: Buffer,
}

/// The sum over N rows of weight * -ln softmax(W hidden) at the target: hidden [N, D] and W [V, D] to a scalar.
pub(super) fn scored(hidden: &Tensor, weight: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
    let kept = (hidden.track_op() || weight.track_op()).then(Mutex::default);
    Ok(hidden.apply_op2(weight, Scored { spec, kept })?)
}

impl Scored {
    /// The losses of the rows from `start` on, whose hidden vectors these are.
    fn losses(&self, hidden: &[f32], start: usize, packed: &PackedBf16, losses: &mut [f32]) {
        let (vocabulary, width) = (packed.cols(), packed.rows());
        let mut logits = Buffer::new(losses.len() * vocabulary);
        gemm_bf16_packed(hidden, gemm::Layout::row_major(losses.len(), width), packed, &mut logits);
        let (targets, weights, banned) = self.spec(start, losses.len());
        let logits = lldm_kernels::CrossEntropy { logits: &logits, vocabulary, targets, weights, banned };
        logits.forward(losses, &mut vec![0.0; targets.len()]);
    }

    /// The same with the gradients: of the hidden vectors, written, and of the weight, added unless the rows are the first.
    fn differentiate(
        &self,
        hidden: &[f32],
        start: usize,
        [there, back]: [&PackedBf16; 2],
        losses: &mut [f32],
        grad_hidden: &mut [f32],
        grad_weight: &mut [f32],
    ) {
        let (vocabulary, width) = (there.cols(), there.rows());
        let mut logits = Buffer::new(losses.len() * vocabulary);
        let chunks = logits.chunks_mut(CHUNK * vocabulary).zip(losses.chunks_mut(CHUNK));
        let chunks = chunks.zip(hidden.chunks(CHUNK * width).zip(grad_hidden.chunks_mut(CHUNK * width)));
        for (chunk, ((logits, losses), (hidden, grad_hidden))) in chunks.enumerate() {
            let rows = losses.len();
            gemm_bf16_packed(hidden, gemm::Layout::row_major(rows, width), there, logits);
            let (targets, weights, banned) = self.spec(start + chunk * CHUNK, rows);
            lldm_kernels::cross_entropy_in_place(logits, vocabulary, targets, weights, banned, losses);
            gemm_bf16_packed(logits, gemm::Layout::row_major(rows, vocabulary), back, grad_hidden);
        }
        add_block(&logits, hidden, [vocabulary, width], start == 0, grad_weight);
    }

    /// Targets, weights and the banned column of some rows.
    fn spec(&self, start: usize, rows: usize) -> (&[u32], &[f32], Option<usize>) {
        let CrossEntropy { targets, weights, banned } = &self.spec;
        (&targets[start..][..rows], &weights[start..][..rows], banned.map(|token| token as usize))
    }
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
        let CrossEntropy { targets, weights, .. } = &self.spec;
        if targets.len() != count || weights.len() != count {
            candle_core::bail!("{} targets and {} weights for {count} rows", targets.len(), weights.len());
        }
        let (hidden, weight) = (slice(hidden, hidden_layout)?, slice(weight, weight_layout)?);
        let layout = gemm::Layout::row_major(vocabulary, width);
        let there = pack_bf16(weight, layout.transposed());
        let mut losses = vec![0.0; count];
        if let Some(kept) = &self.kept {
            let back = pack_bf16(weight, layout);
            let (mut grad_hidden, mut grad_weight) = (Buffer::new(hidden.len()), Buffer::new(weight.len()));
            if count == 0 {
                grad_weight.fill(0.0);
            }
            let blocks = losses.chunks_mut(ROWS).zip(hidden.chunks(ROWS * width));
            for (block, ((losses, x), grad)) in blocks.zip(grad_hidden.chunks_mut(ROWS * width)).enumerate() {
                self.differentiate(x, block * ROWS, [&there, &back], losses, grad, &mut grad_weight);
            }
            *kept.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Kept { hidden: grad_hidden, weight: grad_weight });
        } else {
            for (chunk, (losses, x)) in losses.chunks_mut(CHUNK).zip(hidden.chunks(CHUNK * width)).enumerate() {
                self.losses(x, chunk * CHUNK, &there, losses);
            }
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
        let Some(kept) = kept else {
            return Err(candle_core::Error::Msg("the gradients of a scored projection are had once".to_string()).bt());
        };
        let upstream = grad.to_scalar::<f32>()?;
        let hidden = written(hidden, |out| vector::scaled(upstream, &kept.hidden, out))?;
        Ok((hidden, written(weight, |out| vector::scaled(upstream, &kept.weight, out))?))
    }
}
