//! A loss over rows of logits as one differentiable operation: float64 inside a row, so that differences of nearly equal
//! numbers keep their digits, and a gradient that is written down rather than recorded.

use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Shape, Tensor};
use rayon::prelude::*;

use crate::error::Result;

/// The loss of one row.
pub(super) trait RowLoss: Send + Sync + 'static {
    /// The name of the operation.
    const NAME: &'static str;

    /// The loss, from the V logits.
    fn value(&self, logits: &[f64]) -> f64;

    /// Adds `scale` times the gradient by the V logits to `out`.
    fn gradient(&self, logits: &[f64], scale: f64, out: &mut [f64]);
}

struct Rows<R>(Vec<R>);

/// The sum of the losses of N rows: [N, V] to a scalar.
pub(super) fn sum_rows<R: RowLoss>(logits: &Tensor, rows: Vec<R>) -> Result<Tensor> {
    Ok(logits.contiguous()?.apply_op1(Rows(rows))?)
}

impl<R: RowLoss> CustomOp1 for Rows<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (_, vocabulary) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(Error::Msg(format!("{} needs contiguous logits", R::NAME)));
        };
        let values = &logits.as_slice::<f32>()?[start..end];
        let losses: Vec<f64> =
            values.par_chunks(vocabulary).zip(&self.0).map(|(row, loss)| loss.value(&wide(row))).collect();
        Ok((CpuStorage::F32(vec![losses.iter().sum::<f64>() as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let vocabulary = logits.dim(1)?;
        let scale = f64::from(grad.to_scalar::<f32>()?);
        let values = logits.flatten_all()?.to_vec1::<f32>()?;
        let mut out = vec![0.0f32; values.len()];
        out.par_chunks_mut(vocabulary).zip(values.par_chunks(vocabulary)).zip(&self.0).for_each(
            |((out, row), loss)| {
                let mut gradient = vec![0.0; vocabulary];
                loss.gradient(&wide(row), scale, &mut gradient);
                out.iter_mut().zip(gradient).for_each(|(out, gradient)| *out = gradient as f32);
            },
        );
        Ok(Some(Tensor::from_vec(out, logits.shape(), &Device::Cpu)?))
    }
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().map(|value| f64::from(*value)).collect()
}
