//! A linear layer without bias. How its weight is stored and multiplied is its own business; a family never knows.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};
use lldm_kernels::gemm::{self, PackedBf16, gemm_bf16, gemm_bf16_packed, pack_bf16};

use super::cross_entropy::{CrossEntropy, cross_entropy};
use super::gradients::written;
use super::scored::scored;
use super::slices::{slice, tensor};
use super::weight_gradient::weight_gradient;
use super::weights::{Init, Precision, Weights};
use crate::error::Result;

/// y = x W^T with W [out, in].
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    product: Product,
}

#[derive(Clone, Debug)]
enum Product {
    F32,
    Bf16,
    /// W^T in the layout of the kernel, for weights that do not change any more.
    Packed(Arc<PackedBf16>),
}

/// x [N, in] times W^T, both rounded to bf16, summed in f32.
struct Bf16Product;

/// The same with W^T packed beforehand: the same bits, and no gradient.
struct PackedProduct(Arc<PackedBf16>);

impl Linear {
    /// Reads `{name}.weight`, [`output`, `input`].
    pub fn new(weights: &mut dyn Weights, name: &str, input: usize, output: usize, init: Init) -> Result<Self> {
        let weight = weights.get(&format!("{name}.weight"), &[output, input], init)?;
        Self::from_weight(weight, weights.precision())
    }

    /// A layer with this weight [out, in].
    pub fn from_weight(weight: Tensor, precision: Precision) -> Result<Self> {
        let product = match precision {
            Precision::F32 => Product::F32,
            Precision::Bf16 => Product::Bf16,
            Precision::FrozenBf16 => {
                let (output, input) = weight.dims2()?;
                let contiguous = weight.contiguous()?;
                let layout = gemm::Layout::row_major(output, input).transposed();
                Product::Packed(Arc::new(pack_bf16(&tensor(&contiguous)?, layout)))
            }
        };
        Ok(Self { weight, product })
    }

    /// The weight [out, in] in f32.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// [N, in] to [N, out].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.product {
            Product::F32 => x.matmul(&self.weight.t()?)?,
            Product::Bf16 => x.apply_op2(&self.weight, Bf16Product)?,
            Product::Packed(packed) => x.apply_op1_no_bwd(&PackedProduct(Arc::clone(packed)))?,
        })
    }
}

impl Linear {
    /// Whether it multiplies in bf16 and may still change.
    pub(super) fn trains_in_bf16(&self) -> bool {
        matches!(self.product, Product::Bf16)
    }

    /// The sum over N rows of weight * -ln softmax(logits) at the target, where the logits are what this layer makes of hidden
    /// [N, in]: a scalar. In bf16 the logits become their gradient at once.
    pub fn cross_entropy(&self, hidden: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
        match &self.product {
            Product::Bf16 => scored(hidden, &self.weight, spec),
            _ => cross_entropy(&self.forward(hidden)?, spec),
        }
    }
}

impl CustomOp2 for Bf16Product {
    fn name(&self) -> &'static str {
        "linear_bf16"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, input) = x_layout.shape().dims2()?;
        let (output, _) = weight_layout.shape().dims2()?;
        let mut out = vec![0.0; rows * output];
        gemm_bf16(
            slice(x, x_layout)?,
            gemm::Layout::row_major(rows, input),
            slice(weight, weight_layout)?,
            gemm::Layout::row_major(output, input).transposed(),
            &mut out,
        );
        Ok((CpuStorage::F32(out), Shape::from((rows, output))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let ((rows, input), output) = (x.dims2()?, weight.dim(0)?);
        let grad = grad.contiguous()?;
        let (values, weights, grads) = (tensor(x)?, tensor(weight)?, tensor(&grad)?);
        let mut grad_x = vec![0.0; rows * input];
        let grad_layout = gemm::Layout::row_major(rows, output);
        gemm_bf16(&grads, grad_layout, &weights, gemm::Layout::row_major(output, input), &mut grad_x);
        let grad_weight = written(weight, |out| weight_gradient(&grads, &values, rows, out))?;
        Ok((Some(Tensor::from_vec(grad_x, (rows, input), &Device::Cpu)?), grad_weight))
    }
}

impl CustomOp1 for PackedProduct {
    fn name(&self) -> &'static str {
        "linear_bf16_packed"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, input) = layout.shape().dims2()?;
        let mut out = vec![0.0; rows * self.0.cols()];
        gemm_bf16_packed(slice(x, layout)?, gemm::Layout::row_major(rows, input), &self.0, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((rows, self.0.cols()))))
    }
}
