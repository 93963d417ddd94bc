//! The first half of a layer: from what the input norm gives to what the attention gives, and back, for some rows of the batch.

use lldm_kernels::KeyValues;

use super::joined::Joined;
use super::setting::Setting;
use super::through_norm::through_norm;
use crate::nn::attention::Keys;
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::DecoderBlock;

/// Forward.
pub(super) struct Attend<'a> {
    block: &'a DecoderBlock,
    setting: &'a Setting,
    projections: Joined,
}

/// Back.
pub(super) struct AttendBack<'a> {
    block: &'a DecoderBlock,
    setting: &'a Setting,
    projections: Joined,
}

/// What goes back through some rows.
pub(super) struct AttendPiece<'a> {
    /// What the input norm read.
    pub(super) stream: &'a [f32],
    /// The joined product; it becomes its gradient.
    pub(super) joined: &'a mut [f32],
    pub(super) attended: &'a [f32],
    pub(super) log_sum_exp: &'a [f32],
    pub(super) grad_attended: &'a [f32],
    /// The gradients of the stream that goes past the half, and of that before it.
    pub(super) between: &'a [f32],
    pub(super) before: &'a mut [f32],
    /// What the input norm gave.
    pub(super) normed: &'a mut [f32],
    /// The gradients of the norms' weights: input, queries, keys.
    pub(super) norms: &'a mut [f32],
}

impl<'a> Attend<'a> {
    pub(super) fn new(block: &'a DecoderBlock, setting: &'a Setting) -> candle_core::Result<Self> {
        Ok(Self { block, setting, projections: Joined::there(&block.projections())? })
    }

    pub(super) fn run(
        &self,
        normed: &[f32],
        joined: &mut [f32],
        attended: &mut [f32],
        log_sum_exp: &mut [f32],
    ) -> candle_core::Result<()> {
        self.projections.multiply(normed, joined);
        let [q, k, v] = split(self.block, self.setting, joined)?;
        let shape = self.setting.attention(&self.block.config, normed.len() / self.block.config.width);
        let keys = Keys { visibility: self.setting.visibility, count: shape.keys };
        let scale = (shape.head_dim as f32).powf(-0.5);
        let segment = KeyValues { keys: &k, values: &v };
        lldm_kernels::attention(shape, &q, &[segment], scale, &keys, attended, Some(log_sum_exp));
        Ok(())
    }
}

impl<'a> AttendBack<'a> {
    pub(super) fn new(block: &'a DecoderBlock, setting: &'a Setting) -> candle_core::Result<Self> {
        Ok(Self { block, setting, projections: Joined::back(&block.projections())? })
    }

    pub(super) fn run(&self, piece: AttendPiece<'_>) -> candle_core::Result<()> {
        let AttendPiece { stream, joined, attended, log_sum_exp, grad_attended, between, before, normed, norms } =
            piece;
        let (for_input, for_heads) = norms.split_at_mut(self.block.config.width);
        let shape = self.setting.attention(&self.block.config, stream.len() / self.block.config.width);
        let [q, k, v] = split(self.block, self.setting, joined)?;
        let keys = Keys { visibility: self.setting.visibility, count: shape.keys };
        let scale = (shape.head_dim as f32).powf(-0.5);
        let [mut grad_q, mut grad_k, mut grad_v] = [(); 3].map(|()| Buffer::new(q.len()));
        lldm_kernels::attention_backward(
            shape,
            &q,
            &[KeyValues { keys: &k, values: &v }],
            scale,
            &keys,
            attended,
            log_sum_exp,
            grad_attended,
            &mut grad_q,
            &mut grad_k,
            &mut grad_v,
        );
        let grads = [&*grad_q, &*grad_k, &*grad_v];
        self.block.with_split(self.setting.rope.as_ref(), |split| split.backward(joined, grads, for_heads))?;
        let mut delta = Buffer::new(stream.len());
        self.projections.multiply(joined, &mut delta);
        through_norm(&self.block.input_norm, stream, &delta, between, before, normed, for_input)
    }
}

/// Queries, keys and values [N, H Dh] of the joined product.
fn split(block: &DecoderBlock, setting: &Setting, joined: &[f32]) -> candle_core::Result<[Buffer; 3]> {
    let [mut q, mut k, mut v] = [(); 3].map(|()| Buffer::new(joined.len() / 3));
    block.with_split(setting.rope.as_ref(), |split| split.forward(joined, &mut q, &mut k, &mut v))?;
    Ok([q, k, v])
}
