//! The op: all layers and the final norm.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Shape, Tensor};

use super::layer::{Kept, forward, reverse};
use super::setting::Setting;
use crate::error::Result;
use crate::nn::attention::Visibility;
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::DecoderBlock;
use crate::nn::gradients::{collecting, written};
use crate::nn::norm::RmsNorm;
use crate::nn::rope::Rope;
use crate::nn::rows::select_rows;
use crate::nn::slices::{slice, tensor};

struct Stack {
    blocks: Vec<DecoderBlock>,
    norm: RmsNorm,
    setting: Setting,
    /// For each layer what it keeps and the stream behind it; none where no gradient will be asked for.
    kept: Option<Mutex<Vec<(Kept, Buffer)>>>,
}

/// B rows of L vectors through all `blocks` and the final norm: [B * L, D] to the vectors `rows`, [M, D], or to all of them. It
/// has the bits of [`DecoderBlock::forward`] and [`RmsNorm::forward`] in bf16. Its gradients need [`crate::nn::backward`].
pub fn decode(
    blocks: &[DecoderBlock],
    norm: &RmsNorm,
    x: &Tensor,
    batch: usize,
    rope: Option<&Rope>,
    visibility: Visibility,
    rows: Option<&[u32]>,
) -> Result<Tensor> {
    let count = x.dim(0)?;
    let rows = rows.filter(|rows| !(rows.len() == count && (0..).zip(*rows).all(|(at, row)| at == *row)));
    if let Some(row) = rows.and_then(|rows| rows.iter().find(|row| **row as usize >= count)) {
        return Err(Error::Msg(format!("row {row} is beyond the {count} vectors of the stack")).bt().into());
    }
    if blocks.is_empty() || count == 0 || rows.is_some_and(<[u32]>::is_empty) {
        let left = rows.map_or_else(|| Ok(x.clone()), |rows| select_rows(x, rows.to_vec()))?;
        return norm.forward(&left);
    }
    let setting =
        Setting { batch, length: count / batch, rope: rope.cloned(), visibility, rows: rows.map(<[u32]>::to_vec) };
    let kept = x.track_op().then(Mutex::default);
    Ok(x.apply_op1(Stack { blocks: blocks.to_vec(), norm: norm.clone(), setting, kept })?)
}

impl Stack {
    /// The norm that reads the stream behind layer `at`, and the vectors that are wanted there.
    fn after(&self, at: usize) -> (&RmsNorm, Option<&[u32]>) {
        match self.blocks.get(at + 1) {
            Some(block) => (&block.input_norm, None),
            None => (&self.norm, self.setting.rows.as_deref()),
        }
    }
}

impl CustomOp1 for Stack {
    fn name(&self) -> &'static str {
        "decoder_stack"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, (_, width)) = (slice(x, layout)?, layout.shape().dims2()?);
        let mut normed = Buffer::new(x.len());
        let first = self.blocks.first().map_or(&self.norm, |block| &block.input_norm);
        lldm_kernels::rms_norm(x, &tensor(first.weight())?, first.eps(), &mut normed);
        let mut streams: Vec<(Kept, Buffer)> = Vec::with_capacity(self.blocks.len());
        for (at, block) in self.blocks.iter().enumerate() {
            let stream = streams.last().map_or(x, |(_, stream)| stream);
            let (next, rows) = self.after(at);
            let (stream, kept) = forward(block, &self.setting, rows, stream, &mut normed, next)?;
            if self.kept.is_none() {
                streams.clear();
            }
            streams.push((kept, stream));
        }
        if let Some(kept) = &self.kept {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = streams;
        }
        Ok((CpuStorage::F32(normed.to_vec()), Shape::from((normed.len() / width, width))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let kept =
            self.kept.as_ref().map(|kept| std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner)));
        let mut kept = kept.unwrap_or_default();
        if !collecting() || kept.len() != self.blocks.len() {
            let message = "the gradients of a stack of layers are had once, by lldm_models::nn::backward";
            return Err(Error::Msg(message.to_string()).bt());
        }
        let first = tensor(x)?;
        let grad = grad.contiguous()?;
        let mut sum = Buffer::new(grad.elem_count());
        {
            let stream = kept.last().map_or(&*first, |(_, stream)| stream);
            let (scales, eps, grad) = (tensor(self.norm.weight())?, self.norm.eps(), tensor(&grad)?);
            written(self.norm.weight(), |out| {
                lldm_kernels::rms_norm_backward(stream, &scales, eps, &grad, &mut sum, out);
            })?;
        }
        for (at, block) in self.blocks.iter().enumerate().rev() {
            let Some((layer, _)) = kept.pop() else { break };
            let stream = kept.last().map_or(&*first, |(_, stream)| stream);
            sum = reverse(block, &self.setting, self.after(at).1, stream, layer, &sum)?;
        }
        Ok(Some(Tensor::from_vec(sum.to_vec(), x.shape(), &Device::Cpu)?))
    }
}
