//! Linear layers that read the same input, multiplied as one: their weights [O_i, I] one below the other.
//!
//! A column of a product does not depend on the others, so the joined product has the bits of the separate ones; the input is
//! rounded and packed once. Backward, the gradients to the input come out as one sum.

use candle_core::{Error, Tensor};
use lldm_kernels::gemm::{Layout, PackedBf16, gemm_bf16_packed, pack_bf16};

use crate::nn::buffer::Buffer;
use crate::nn::gradients::written;
use crate::nn::linear::Linear;
use crate::nn::slices::tensor;
use crate::nn::weight_gradient::weight_gradient;

/// The layers, packed for products of one direction.
pub(super) struct Joined {
    packed: PackedBf16,
}

impl Joined {
    /// From the input to the output.
    pub(super) fn there(layers: &[&Linear]) -> candle_core::Result<Self> {
        Self::packed(layers, Layout::transposed)
    }

    /// From the gradient of the output to that of the input.
    pub(super) fn back(layers: &[&Linear]) -> candle_core::Result<Self> {
        Self::packed(layers, |layout| layout)
    }

    fn packed(layers: &[&Linear], turn: impl Fn(Layout) -> Layout) -> candle_core::Result<Self> {
        let (mut output, mut input) = (0, 0);
        for layer in layers {
            let (rows, columns) = weight(layer)?.dims2()?;
            (output, input) = (output + rows, columns);
        }
        let layout = turn(Layout::row_major(output, input));
        let packed = if let [layer] = layers {
            pack_bf16(&tensor(weight(layer)?)?, layout)
        } else {
            let mut all = Buffer::new(output * input);
            let mut rest = &mut all[..];
            for layer in layers {
                let part = tensor(weight(layer)?)?;
                let (to, after) = rest.split_at_mut(part.len());
                lldm_kernels::vector::scaled(1.0, &part, to);
                rest = after;
            }
            pack_bf16(&all, layout)
        };
        Ok(Self { packed })
    }

    /// The product of some rows.
    pub(super) fn multiply(&self, x: &[f32], out: &mut [f32]) {
        let layout = Layout::row_major(x.len() / self.packed.rows(), self.packed.rows());
        gemm_bf16_packed(x, layout, &self.packed, out);
    }

    /// The width of what is multiplied.
    pub(super) fn input(&self) -> usize {
        self.packed.rows()
    }

    /// The width of what comes out.
    pub(super) fn output(&self) -> usize {
        self.packed.cols()
    }
}

/// Hands over the gradients of the layers' weights, given `rows` rows of their input [N, I] and of the gradient of their output
/// [N, O].
pub(super) fn to_weights(layers: &[&Linear], rows: usize, x: &[f32], grad: &[f32]) -> candle_core::Result<()> {
    if let [layer] = layers {
        written(weight(layer)?, |out| weight_gradient(grad, x, rows, out))?;
        return Ok(());
    }
    let mut all = Buffer::new(grad.len() / rows.max(1) * (x.len() / rows.max(1)));
    weight_gradient(grad, x, rows, &mut all);
    let mut rest = &all[..];
    for layer in layers {
        let (part, after) = rest.split_at(weight(layer)?.elem_count());
        written(weight(layer)?, |out| lldm_kernels::vector::scaled(1.0, part, out))?;
        rest = after;
    }
    Ok(())
}

/// A weight that may still change.
fn weight(layer: &Linear) -> candle_core::Result<&Tensor> {
    let frozen = || Error::Msg("only layers whose weights are kept in f32 can be trained".to_string()).bt();
    layer.weight().ok_or_else(frozen)
}
