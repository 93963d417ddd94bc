//! The second half of a layer: the attention's output joins the stream, then the feed-forward layer; and back. A vector does not
//! see the others, so any of them may be left out.

use super::joined::Joined;
use super::through_norm::{add_norm, through_norm};
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::{DecoderBlock, FeedForward};
use crate::nn::norm::RmsNorm;

/// Forward.
pub(super) struct Feed<'a> {
    block: &'a DecoderBlock,
    /// The norm that reads the stream behind the layer.
    next: &'a RmsNorm,
    output: Joined,
    widening: Joined,
    narrowing: Joined,
}

/// Back.
pub(super) struct FeedBack<'a> {
    block: &'a DecoderBlock,
    output: Joined,
    widening: Joined,
    narrowing: Joined,
}

/// What some vectors give.
pub(super) struct FeedPiece<'a> {
    /// The stream between the halves.
    pub(super) middle: &'a mut [f32],
    /// What the next norm makes of the stream behind the layer.
    pub(super) normed: &'a mut [f32],
    /// The inner units before the activation.
    pub(super) inner: &'a mut [f32],
    /// The stream behind the layer.
    pub(super) out: &'a mut [f32],
}

/// What goes back through some vectors.
pub(super) struct FeedBackPiece<'a> {
    pub(super) middle: &'a [f32],
    /// The inner units; they become their gradient.
    pub(super) inner: &'a mut [f32],
    /// The gradients of the stream behind the layer, of that between the halves, and of what the attention gave.
    pub(super) behind: &'a [f32],
    pub(super) between: &'a mut [f32],
    pub(super) grad_attended: &'a mut [f32],
    /// What the activation and the inner norm gave.
    pub(super) activated: &'a mut [f32],
    pub(super) normed: &'a mut [f32],
    /// The gradient of the inner norm's weight.
    pub(super) norm: &'a mut [f32],
}

impl<'a> Feed<'a> {
    pub(super) fn new(block: &'a DecoderBlock, next: &'a RmsNorm) -> candle_core::Result<Self> {
        Ok(Self {
            block,
            next,
            output: Joined::there(&[&block.output])?,
            widening: Joined::there(&block.feed_forward.widening())?,
            narrowing: Joined::there(&[block.feed_forward.narrowing()])?,
        })
    }

    /// The width of the inner units before the activation.
    pub(super) fn inner_width(&self) -> usize {
        self.widening.output()
    }

    pub(super) fn run(&self, stream: &[f32], attended: &[f32], piece: FeedPiece<'_>) -> candle_core::Result<()> {
        let FeedPiece { middle, normed, inner, out } = piece;
        let config = &self.block.config;
        let mut delta = Buffer::new(stream.len());
        self.output.multiply(attended, &mut delta);
        add_norm(&self.block.inner_norm, stream, &delta, middle, normed)?;
        self.widening.multiply(normed, inner);
        let mut activated = Buffer::new(stream.len() / config.width * config.inner);
        match &self.block.feed_forward {
            FeedForward::SwiGlu(_) => lldm_kernels::swiglu_joined(inner, config.inner, &mut activated),
            FeedForward::Gelu(mlp) => lldm_kernels::gelu(mlp.form, inner, &mut activated),
        }
        self.narrowing.multiply(&activated, &mut delta);
        add_norm(self.next, middle, &delta, out, normed)
    }
}

impl<'a> FeedBack<'a> {
    pub(super) fn new(block: &'a DecoderBlock) -> candle_core::Result<Self> {
        Ok(Self {
            block,
            output: Joined::back(&[&block.output])?,
            widening: Joined::back(&block.feed_forward.widening())?,
            narrowing: Joined::back(&[block.feed_forward.narrowing()])?,
        })
    }

    /// The width of the inner units before the activation.
    pub(super) fn inner_width(&self) -> usize {
        self.widening.input()
    }

    pub(super) fn run(&self, piece: FeedBackPiece<'_>) -> candle_core::Result<()> {
        let FeedBackPiece { middle, inner, behind, between, grad_attended, activated, normed, norm } = piece;
        self.narrowing.multiply(behind, activated);
        match &self.block.feed_forward {
            FeedForward::SwiGlu(_) => lldm_kernels::swiglu_joined_backward(inner, self.block.config.inner, activated),
            FeedForward::Gelu(mlp) => lldm_kernels::gelu_backward(mlp.form, inner, activated),
        }
        let mut delta = Buffer::new(middle.len());
        self.widening.multiply(inner, &mut delta);
        through_norm(&self.block.inner_norm, middle, &delta, behind, between, normed, norm)?;
        self.output.multiply(between, grad_attended);
        Ok(())
    }
}
