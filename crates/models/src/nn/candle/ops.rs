//! The layers' operations composed of candle's own: what a device without our kernels runs. Each is the fallback of a custom op
//! and has its gradients by candle's own reverse pass.

use candle_core::{D, Result, Tensor};
use lldm_kernels::Gelu;

use crate::nn::CrossEntropy;

/// RMSNorm of vectors [.., width].
pub(in crate::nn) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let root = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?;
    x.broadcast_div(&root)?.broadcast_mul(weight)
}

/// silu(gate) * up.
pub(in crate::nn) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// GELU.
pub(in crate::nn) fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    match form {
        Gelu::Exact => x.gelu_erf(),
        Gelu::Tanh => x.gelu(),
    }
}

/// Rotary positions of x [B, L, H, Dh] with the cosines and sines [L, Dh / 2].
pub(in crate::nn) fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (_, length, _, width) = x.dims4()?;
    let table = |table: &Tensor| table.reshape((1, length, 1, width / 2));
    let (cos, sin) = (table(cos)?, table(sin)?);
    let (first, second) = (x.narrow(3, 0, width / 2)?, x.narrow(3, width / 2, width / 2)?);
    let turned = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let other = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    Tensor::cat(&[turned, other], 3)
}

/// The rows `indices` `[N]` of a matrix [V, D]: [N, D].
pub(in crate::nn) fn select_rows(matrix: &Tensor, indices: &[u32]) -> Result<Tensor> {
    matrix.index_select(&Tensor::new(indices, matrix.device())?, 0)
}

/// The sum over N rows of weight * -ln softmax(logits) at the target: [N, V] to a scalar. Rows that weigh nothing are left out.
pub(in crate::nn) fn cross_entropy(logits: &Tensor, spec: &CrossEntropy) -> Result<Tensor> {
    let (device, vocabulary) = (logits.device(), logits.dim(1)?);
    let counted = spec.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
    let (rows, weights): (Vec<_>, Vec<_>) = counted.map(|(row, weight)| (row as u32, *weight)).unzip();
    let targets: Vec<_> = rows.iter().map(|row| spec.targets[*row as usize]).collect();
    if rows.is_empty() {
        return logits.sum_all()? * 0.0;
    }
    let mut logits = select_rows(logits, &rows)?;
    if let Some(banned) = spec.banned {
        let mut added = vec![0f32; vocabulary];
        added[banned as usize] = f32::NEG_INFINITY;
        logits = logits.broadcast_add(&Tensor::new(added, device)?)?;
    }
    let max = logits.detach().max_keepdim(1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(1)?.log()?;
    let target = shifted.gather(&Tensor::new(targets, device)?.unsqueeze(1)?, 1)?;
    let losses = (log_sum - target)?.squeeze(1)?;
    (losses * Tensor::new(weights, device)?)?.sum_all()
}
