//! A linear layer without bias. How its weight is stored and multiplied is its own business; a family never knows.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};
use lldm_kernels::gemm::{self, PackedBf16, gemm_bf16, gemm_bf16_packed, pack_bf16};
use lldm_kernels::{PackedQuant, gemm_quant};

use super::candle::{Blocks, CandleBackend, CandleWeight, ops};
use super::cross_entropy::{CrossEntropy, cross_entropy};
use super::gradients::written;
use super::rows::select_rows;
use super::scored::scored;
use super::slices::{slice, tensor};
use super::storage::StorageKind;
use super::weight_gradient::weight_gradient;
use super::weights::{Init, Precision, Weights};
use crate::error::Result;

/// y = x W^T with W [out, in].
#[derive(Clone, Debug)]
pub struct Linear {
    storage: Storage,
}

#[derive(Clone, Debug)]
enum Storage {
    /// W in f32, multiplied in f32.
    F32(Tensor),
    /// W in f32, rounded to bf16 in each product.
    Bf16(Tensor),
    /// W^T in bf16 in the order of the kernel: the same bits as `Bf16`, and no gradient.
    Packed(PackedBf16),
    /// W in blocks of a GGUF format in the order of the kernels; no gradient.
    Quant(PackedQuant),
    /// W on a device of candle's; no gradient.
    Candle(CandleWeight),
}

/// x [N, in] times W^T, both rounded to bf16, summed in f32.
struct Bf16Product;

/// The same with W^T packed beforehand.
struct PackedProduct(PackedBf16);

/// x [N, in], rounded to int8, times W^T.
struct QuantProduct(PackedQuant);

impl Linear {
    /// Reads `{name}.weight`, [`output`, `input`].
    pub fn new(weights: &mut dyn Weights, name: &str, input: usize, output: usize, init: Init) -> Result<Self> {
        weights.linear(&format!("{name}.weight"), [output, input], init)
    }

    /// A layer with this weight [out, in].
    pub fn from_weight(weight: Tensor, precision: Precision) -> Result<Self> {
        let storage = match precision {
            Precision::F32 => Storage::F32(weight),
            Precision::Bf16 => Storage::Bf16(weight),
            Precision::FrozenBf16 => {
                let (output, input) = weight.dims2()?;
                let contiguous = weight.contiguous()?;
                let layout = gemm::Layout::row_major(output, input).transposed();
                Storage::Packed(pack_bf16(&tensor(&contiguous)?, layout))
            }
        };
        Ok(Self { storage })
    }

    /// A layer of candle's with this weight [out, in], rounded to bf16.
    pub fn on_candle(weight: &Tensor, backend: &CandleBackend) -> Result<Self> {
        Ok(Self { storage: Storage::Candle(CandleWeight::new(weight, backend.device())?) })
    }

    /// A layer of candle's with a quantised weight [out, in].
    pub fn quant_on_candle(shape: [usize; 2], blocks: Blocks, backend: &CandleBackend) -> Result<Self> {
        Ok(Self { storage: Storage::Candle(CandleWeight::quant(shape, blocks, backend.device())?) })
    }

    /// The weight [out, in] in f32, where it is kept so: in training.
    pub fn weight(&self) -> Option<&Tensor> {
        match &self.storage {
            Storage::F32(weight) | Storage::Bf16(weight) => Some(weight),
            Storage::Packed(_) | Storage::Quant(_) | Storage::Candle(_) => None,
        }
    }

    /// The panels of a quantised weight.
    pub(super) fn packed_quant(&self) -> Option<&PackedQuant> {
        if let Storage::Quant(packed) = &self.storage { Some(packed) } else { None }
    }

    /// The panels of a weight in bf16.
    pub(super) fn packed_bf16(&self) -> Option<&PackedBf16> {
        if let Storage::Packed(packed) = &self.storage { Some(packed) } else { None }
    }

    /// How the weight is stored.
    pub fn kind(&self) -> StorageKind {
        match &self.storage {
            Storage::F32(_) => StorageKind::F32,
            Storage::Bf16(_) => StorageKind::Bf16,
            Storage::Packed(_) => StorageKind::PackedBf16,
            Storage::Quant(packed) => StorageKind::Quant(packed.format()),
            Storage::Candle(weight) => weight.kind(),
        }
    }

    /// [N, in] to [N, out].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.storage {
            Storage::F32(weight) => x.matmul(&weight.t()?)?,
            Storage::Bf16(weight) => x.apply_op2(weight, Bf16Product)?,
            Storage::Packed(packed) => x.apply_op1_no_bwd(&PackedProduct(packed.clone()))?,
            Storage::Quant(packed) => x.apply_op1_no_bwd(&QuantProduct(packed.clone()))?,
            Storage::Candle(weight) => weight.forward(x)?,
        })
    }

    /// What [`Linear::forward`] makes of x [N, in], in host memory, row by row; packed weights write it there at once.
    pub fn values(&self, x: &Tensor) -> Result<Vec<f32>> {
        let shape = x.dims2()?;
        match &self.storage {
            Storage::Packed(packed) => Ok(packed_product(&tensor(&x.contiguous()?)?, shape, packed)),
            Storage::Quant(packed) => Ok(quant_product(&tensor(&x.contiguous()?)?, shape, packed)),
            _ => Ok(self.forward(x)?.flatten_all()?.to_vec1()?),
        }
    }

    /// Whether it multiplies in bf16 and may still change.
    pub(super) fn trains_in_bf16(&self) -> bool {
        matches!(self.storage, Storage::Bf16(_))
    }

    /// The sum over N rows of weight * -ln softmax(logits) at the target, where the logits are what this layer makes of hidden
    /// [N, in]: a scalar. In bf16 the logits become their gradient at once.
    pub fn cross_entropy(&self, hidden: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
        match &self.storage {
            Storage::Bf16(weight) => scored(hidden, weight, spec),
            Storage::Candle(weight) => Ok(ops::cross_entropy(&weight.forward(hidden)?, &spec)?),
            _ => cross_entropy(&self.forward(hidden)?, spec),
        }
    }

    /// N rows of the weight in f32: [N, in].
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let [output, input] = self.shape()?;
        if let Some(row) = rows.iter().find(|row| **row as usize >= output) {
            return Err(candle_core::Error::InvalidIndex { op: "rows", index: *row as usize, size: output }
                .bt()
                .into());
        }
        match &self.storage {
            Storage::F32(weight) | Storage::Bf16(weight) => select_rows(weight, rows.to_vec()),
            Storage::Packed(packed) => gather(rows, input, |row, out| packed.column(row, out)),
            Storage::Quant(packed) => gather(rows, input, |row, out| packed.row(row, out)),
            Storage::Candle(weight) => Ok(weight.rows(rows)?),
        }
    }

    /// [out, in].
    fn shape(&self) -> Result<[usize; 2]> {
        Ok(match &self.storage {
            Storage::F32(weight) | Storage::Bf16(weight) => weight.dims2()?.into(),
            Storage::Packed(packed) => [packed.cols(), packed.rows()],
            Storage::Quant(packed) => [packed.outputs(), packed.inputs()],
            Storage::Candle(weight) => weight.shape()?,
        })
    }
}

impl From<PackedBf16> for Linear {
    /// A layer whose weight [out, in] is packed as the factor [in, out].
    fn from(packed: PackedBf16) -> Self {
        Self { storage: Storage::Packed(packed) }
    }
}

impl From<PackedQuant> for Linear {
    /// A layer with a quantised weight [out, in].
    fn from(packed: PackedQuant) -> Self {
        Self { storage: Storage::Quant(packed) }
    }
}

fn gather(rows: &[u32], input: usize, read: impl Fn(usize, &mut [f32])) -> Result<Tensor> {
    let mut out = vec![0.0; rows.len() * input];
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(input.max(1))) {
        read(*row as usize, out);
    }
    Ok(Tensor::from_vec(out, (rows.len(), input), &Device::Cpu)?)
}

/// x [N, in] times W^T.
fn packed_product(x: &[f32], (rows, input): (usize, usize), weight: &PackedBf16) -> Vec<f32> {
    let mut out = vec![0.0; rows * weight.cols()];
    gemm_bf16_packed(x, gemm::Layout::row_major(rows, input), weight, &mut out);
    out
}

/// x [N, in] times W^T.
fn quant_product(x: &[f32], (rows, _): (usize, usize), weight: &PackedQuant) -> Vec<f32> {
    let mut out = vec![0.0; rows * weight.outputs()];
    gemm_quant(x, weight, &mut out);
    out
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
        let shape = layout.shape().dims2()?;
        let out = packed_product(slice(x, layout)?, shape, &self.0);
        Ok((CpuStorage::F32(out), Shape::from((shape.0, self.0.cols()))))
    }
}

impl CustomOp1 for QuantProduct {
    fn name(&self) -> &'static str {
        "linear_quant"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let shape = layout.shape().dims2()?;
        let out = quant_product(slice(x, layout)?, shape, &self.0);
        Ok((CpuStorage::F32(out), Shape::from((shape.0, self.0.outputs()))))
    }
}
