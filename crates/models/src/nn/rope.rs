//! Rotary positions (Su et al. 2021, "RoFormer"), halves rotated against each other as in Llama and Qwen.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use lldm_kernels::Rotation;

use super::candle::{Backend, ops};
use super::slices::{slice, tensor};
use crate::error::Result;

/// The cosines and sines of one head width Dh and one base, for as many positions as somebody has asked for.
#[derive(Debug)]
pub struct RopeTables {
    head_width: usize,
    theta: f64,
    known: RwLock<Arc<Table>>,
}

/// The rotations of the L positions of a row.
#[derive(Clone, Debug)]
pub struct Rope {
    table: Arc<Table>,
    positions: Arc<[usize]>,
    /// Cosines and sines [L, Dh / 2] on a device of candle's.
    on_device: Option<(Tensor, Tensor)>,
}

/// Two tables [P, Dh / 2].
#[derive(Debug, Default)]
struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
    positions: usize,
}

struct Rotate {
    table: Arc<Table>,
    positions: Arc<[usize]>,
}

impl RopeTables {
    /// For heads of width `head_width` and base `theta`.
    pub fn new(head_width: usize, theta: f64) -> Self {
        Self { head_width, theta, known: RwLock::default() }
    }

    /// The rotations for `positions`.
    pub fn at(&self, positions: &[usize]) -> Rope {
        let needed = positions.iter().max().map_or(0, |last| last + 1);
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        let table = if known.positions >= needed { known } else { self.grow(needed) };
        Rope { table, positions: positions.into(), on_device: None }
    }

    /// Tables for at least `needed` positions, and twice as many as before: a text that grows makes them a few times only.
    fn grow(&self, needed: usize) -> Arc<Table> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.positions < needed {
            let positions = needed.max(2 * known.positions);
            let (cos, sin) = lldm_kernels::rope_tables(positions, self.head_width, self.theta);
            *known = Arc::new(Table { cos, sin, positions });
        }
        Arc::clone(&known)
    }
}

impl Rope {
    /// The rotations for `positions` with heads of width `head_width` and base `theta`.
    pub fn new(positions: &[usize], head_width: usize, theta: f64) -> Self {
        RopeTables::new(head_width, theta).at(positions)
    }

    /// The same for tensors of that backend.
    pub fn on(mut self, backend: &Backend) -> Result<Self> {
        if let Backend::Candle(_) = backend {
            let Table { cos, sin, positions } = &*self.table;
            let half = cos.len().checked_div(*positions).unwrap_or(0);
            let upload = |table: &[f32]| {
                let rows = self.positions.iter().flat_map(|at| &table[at * half..][..half]);
                Tensor::from_vec(rows.copied().collect::<Vec<_>>(), (self.positions.len(), half), backend.device())
            };
            self.on_device = Some((upload(cos)?, upload(sin)?));
        }
        Ok(self)
    }

    /// For the kernels.
    pub(super) fn rotation(&self) -> Rotation<'_> {
        Rotation { cos: &self.table.cos, sin: &self.table.sin, positions: &self.positions }
    }

    /// [B, L, H, Dh] to the same shape.
    pub fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.on_device {
            None => x.apply_op1(Rotate { table: Arc::clone(&self.table), positions: Arc::clone(&self.positions) })?,
            Some((cos, sin)) => ops::rotate(x, cos, sin)?,
        })
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut out = slice(x, layout)?.to_vec();
        let (_, _, heads, head_width) = layout.shape().dims4()?;
        let Table { cos, sin, .. } = &*self.table;
        lldm_kernels::rope_in_place(&mut out, heads, head_width, cos, sin, &self.positions);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, _, heads, head_width) = x.dims4()?;
        let mut out = tensor(&grad.contiguous()?)?.to_vec();
        let Table { cos, sin, .. } = &*self.table;
        lldm_kernels::rope_inverse_in_place(&mut out, heads, head_width, cos, sin, &self.positions);
        Ok(Some(Tensor::from_vec(out, x.shape(), &Device::Cpu)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_and_say_the_same() {
        let tables = RopeTables::new(8, 100.0);
        for positions in [&[3, 0][..], &[], &[40], &[1, 2], &[41, 7]] {
            let (grown, fresh) = (tables.at(positions), Rope::new(positions, 8, 100.0));
            let rows = |rope: &Rope| {
                let Rotation { cos, sin, positions } = rope.rotation();
                let row = |table: &[f32], at: &usize| table[at * 4..][..4].to_vec();
                positions.iter().map(|at| [row(cos, at), row(sin, at)]).collect::<Vec<_>>()
            };
            assert_eq!(rows(&grown), rows(&fresh));
        }
        assert_eq!(tables.at(&[0]).table.positions, 82);
    }
}
