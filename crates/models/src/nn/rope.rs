//! Rotary positions (Su et al. 2021, "RoFormer"), halves rotated against each other as in Llama and Qwen.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use lldm_kernels::Rotation;

use super::slices::{slice, tensor};
use crate::error::Result;

/// The rotations of the L positions of a row.
#[derive(Clone, Debug)]
pub struct Rope {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
    positions: Vec<usize>,
}

struct Rotate {
    table: Arc<Table>,
}

impl Rope {
    /// The rotations for `positions` with heads of width `head_width` and base `theta`.
    pub fn new(positions: &[usize], head_width: usize, theta: f64) -> Self {
        let rows = positions.iter().max().map_or(0, |last| last + 1);
        let (cos, sin) = lldm_kernels::rope_tables(rows, head_width, theta);
        Self { table: Arc::new(Table { cos, sin, positions: positions.to_vec() }) }
    }

    /// For the kernels.
    pub(super) fn rotation(&self) -> Rotation<'_> {
        let Table { cos, sin, positions } = &*self.table;
        Rotation { cos, sin, positions }
    }

    /// [B, L, H, Dh] to the same shape.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.apply_op1(Rotate { table: Arc::clone(&self.table) })?)
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut out = slice(x, layout)?.to_vec();
        let (_, _, heads, head_width) = layout.shape().dims4()?;
        let Table { cos, sin, positions } = &*self.table;
        lldm_kernels::rope_in_place(&mut out, heads, head_width, cos, sin, positions);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, _, heads, head_width) = x.dims4()?;
        let mut out = tensor(&grad.contiguous()?)?.to_vec();
        let Table { cos, sin, positions } = &*self.table;
        lldm_kernels::rope_inverse_in_place(&mut out, heads, head_width, cos, sin, positions);
        Ok(Some(Tensor::from_vec(out, x.shape(), &Device::Cpu)?))
    }
}
