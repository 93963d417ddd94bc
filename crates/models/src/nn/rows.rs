//! Rows of a matrix by index: token embeddings, and the cells that are scored.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};

use super::candle::ops;
use super::gradients::added;
use super::slices::{slice, tensor};
use crate::error::Result;

struct Select {
    indices: Vec<u32>,
}

/// The rows `indices` `[N]` of a matrix [V, D]: [N, D].
pub fn select_rows(matrix: &Tensor, indices: Vec<u32>) -> Result<Tensor> {
    match matrix.device() {
        Device::Cpu => Ok(matrix.apply_op1(Select { indices })?),
        _ => Ok(ops::select_rows(matrix, &indices)?),
    }
}

/// Adds to each row of x [N, D] a row of a matrix [T, D], by index.
pub fn add_rows(x: &Tensor, matrix: &Tensor, indices: Vec<u32>) -> Result<Tensor> {
    match matrix.device() {
        Device::Cpu => Ok(x.apply_op2(matrix, Select { indices })?),
        _ => Ok((x + ops::select_rows(matrix, &indices)?)?),
    }
}

impl CustomOp1 for Select {
    fn name(&self) -> &'static str {
        "select_rows"
    }

    fn cpu_fwd(&self, matrix: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let mut out = vec![0.0; self.indices.len() * width];
        lldm_kernels::gather_rows(slice(matrix, layout)?, width, &self.indices, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((self.indices.len(), width))))
    }

    fn bwd(&self, matrix: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (width, grad) = (matrix.dim(1)?, grad.contiguous()?);
        let grad = tensor(&grad)?;
        added(matrix, |sum| lldm_kernels::scatter_add_rows(&grad, width, &self.indices, sum))
    }
}

impl CustomOp2 for Select {
    fn name(&self) -> &'static str {
        "add_rows"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        matrix: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut out = slice(x, x_layout)?.to_vec();
        lldm_kernels::gather_add_rows(slice(matrix, layout)?, layout.shape().dims2()?.1, &self.indices, &mut out);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        _: &Tensor,
        matrix: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (width, grad) = (matrix.dim(1)?, grad.contiguous()?);
        let values = tensor(&grad)?;
        let matrix = added(matrix, |sum| lldm_kernels::scatter_add_rows(&values, width, &self.indices, sum))?;
        Ok((Some(grad.clone()), matrix))
    }
}
