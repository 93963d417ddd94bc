//! Linear layers that read the same input, multiplied as one: their weights [O_i, I] one below the other.
//!
//! A column of a product does not depend on the others, so the joined product has the bits of the separate ones; the input is
//! rounded and packed once. Backward, the gradients to the input come out as one sum.

use candle_core::{Error, Tensor};
use lldm_kernels::gemm::{Layout, gemm_bf16};

use crate::nn::buffer::Buffer;
use crate::nn::gradients::written;
use crate::nn::linear::Linear;
use crate::nn::slices::{Values, tensor};

/// Some layers.
pub(super) struct Joined<'a> {
    /// Their weights.
    parts: Vec<&'a Tensor>,
    input: usize,
    weights: Weights<'a>,
}

enum Weights<'a> {
    One(Values<'a>),
    Many(Buffer),
}

impl<'a> Joined<'a> {
    pub(super) fn new(layers: Vec<&'a Linear>) -> candle_core::Result<Self> {
        let mut input = 0;
        let mut parts = Vec::with_capacity(layers.len());
        let mut values = Vec::with_capacity(layers.len());
        for layer in layers {
            let frozen = || Error::Msg("only layers whose weights are kept in f32 can be trained".to_string()).bt();
            let weight = layer.weight().ok_or_else(frozen)?;
            input = weight.dims2()?.1;
            values.push(tensor(weight)?);
            parts.push(weight);
        }
        let weights = match values.pop() {
            Some(only) if values.is_empty() => Weights::One(only),
            last => {
                values.extend(last);
                let mut all = Buffer::new(values.iter().map(|part| part.len()).sum());
                let mut rest = &mut all[..];
                for part in &values {
                    let (to, after) = rest.split_at_mut(part.len());
                    to.copy_from_slice(part);
                    rest = after;
                }
                Weights::Many(all)
            }
        };
        Ok(Self { parts, input, weights })
    }

    /// [N, I] to [N, O].
    pub(super) fn forward(&self, x: &[f32]) -> Buffer {
        let rows = x.len() / self.input;
        let mut out = Buffer::new(rows * self.output());
        let weights = Layout::row_major(self.output(), self.input).transposed();
        gemm_bf16(x, Layout::row_major(rows, self.input), self.weights(), weights, &mut out);
        out
    }

    /// The gradient of the output [N, O] to that of the input [N, I].
    pub(super) fn to_input(&self, grad: &[f32]) -> Buffer {
        let rows = grad.len() / self.output();
        let mut out = Buffer::new(rows * self.input);
        let weights = Layout::row_major(self.output(), self.input);
        gemm_bf16(grad, Layout::row_major(rows, self.output()), self.weights(), weights, &mut out);
        out
    }

    /// Hands over the gradients of the weights, given the input [N, I] and the gradient of the output [N, O].
    pub(super) fn to_weights(&self, x: &[f32], grad: &[f32]) -> candle_core::Result<()> {
        let rows = x.len() / self.input;
        let (grads, x_layout) =
            (Layout::row_major(rows, self.output()).transposed(), Layout::row_major(rows, self.input));
        if let [weight] = self.parts[..] {
            written(weight, |out| gemm_bf16(grad, grads, x, x_layout, out))?;
            return Ok(());
        }
        let mut all = Buffer::new(self.output() * self.input);
        gemm_bf16(grad, grads, x, x_layout, &mut all);
        let mut rest = &all[..];
        for weight in &self.parts {
            let (part, after) = rest.split_at(weight.elem_count());
            written(weight, |out| out.copy_from_slice(part))?;
            rest = after;
        }
        Ok(())
    }

    fn weights(&self) -> &[f32] {
        match &self.weights {
            Weights::One(values) => values,
            Weights::Many(values) => values,
        }
    }

    /// O.
    fn output(&self) -> usize {
        self.weights().len() / self.input
    }
}
