//! The residual stream and a norm that reads it, there and back.

use crate::nn::norm::RmsNorm;
use crate::nn::slices::tensor;

/// `sum = x + delta`, and `out` what the norm makes of it.
pub(super) fn add_norm(
    norm: &RmsNorm,
    x: &[f32],
    delta: &[f32],
    sum: &mut [f32],
    out: &mut [f32],
) -> candle_core::Result<()> {
    lldm_kernels::add_rms_norm(x, delta, &tensor(norm.weight())?, norm.eps(), sum, out);
    Ok(())
}

/// Adds what comes back through a norm to `past`, the gradient of the stream that goes past it; and computes once more what the
/// norm gave.
pub(super) fn through_norm(
    norm: &RmsNorm,
    stream: &[f32],
    delta: &[f32],
    past: &[f32],
    grad: &mut [f32],
    normed: &mut [f32],
    for_weight: &mut [f32],
) -> candle_core::Result<()> {
    let scales = tensor(norm.weight())?;
    lldm_kernels::rms_norm(stream, &scales, norm.eps(), normed);
    lldm_kernels::rms_norm_backward_add(stream, &scales, norm.eps(), delta, past, grad, for_weight);
    Ok(())
}
