//! A layer forward, over plain slices.
//!
//! Each residual sum and the norm that reads it are one pass. What is kept is the residual stream, the joined products and the
//! attention's output; norms, queries, keys, values and activations are computed again by the reverse pass, as that is cheaper
//! than to keep them in memory.

use lldm_kernels::KeyValues;
use rayon::prelude::*;

use super::joined::Joined;
use super::setting::Setting;
use crate::nn::attention::Keys;
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::{DecoderBlock, FeedForward};
use crate::nn::norm::RmsNorm;
use crate::nn::rope::Rope;
use crate::nn::slices::tensor;

/// What a layer keeps for its reverse pass.
pub(super) struct Kept {
    /// [N, 3 D]: queries, keys and values as the product gives them.
    pub(super) joined: Buffer,
    /// [N, D].
    pub(super) attended: Buffer,
    /// [B, H, L].
    pub(super) log_sum_exp: Buffer,
    /// The stream between attention and feed-forward, [N, D].
    pub(super) middle: Buffer,
    /// The inner units before the activation: [N, F], or [N, 2 F] with a gate.
    pub(super) inner: Buffer,
}

struct Pass<'a> {
    block: &'a DecoderBlock,
    next: &'a RmsNorm,
    setting: &'a Setting,
    projections: Joined,
    output: Joined,
    widening: Joined,
    narrowing: Joined,
}

/// Some rows of everything: `stream` is read, the rest is written; `normed` is both.
struct Piece<'a> {
    stream: &'a [f32],
    normed: &'a mut [f32],
    joined: &'a mut [f32],
    attended: &'a mut [f32],
    log_sum_exp: &'a mut [f32],
    middle: &'a mut [f32],
    inner: &'a mut [f32],
    out: &'a mut [f32],
}

/// The stream [N, D] and what the input norm makes of it, to the stream behind the layer; `normed` becomes what `next` makes of
/// that.
pub(super) fn forward(
    block: &DecoderBlock,
    setting: &Setting,
    stream: &[f32],
    normed: &mut [f32],
    next: &RmsNorm,
) -> candle_core::Result<(Buffer, Kept)> {
    let pass = Pass {
        block,
        next,
        setting,
        projections: Joined::there(&block.projections())?,
        output: Joined::there(&[&block.output])?,
        widening: Joined::there(&block.feed_forward.widening())?,
        narrowing: Joined::there(&[block.feed_forward.narrowing()])?,
    };
    let (count, piece, width) = (setting.count(), setting.piece(), block.config.width);
    let heads = block.config.heads;
    let (joined_width, attended_width, inner_width) =
        (pass.projections.width(), pass.projections.width() / 3, pass.widening.width());
    let mut joined = Buffer::new(count * joined_width);
    let mut attended = Buffer::new(count * attended_width);
    let mut log_sum_exp = Buffer::new(count * heads);
    let mut inner = Buffer::new(count * inner_width);
    let (mut middle, mut out) = (Buffer::new(count * width), Buffer::new(count * width));
    let wide = joined.par_chunks_mut(piece * joined_width).zip(attended.par_chunks_mut(piece * attended_width));
    let streams = stream.par_chunks(piece * width).zip(normed.par_chunks_mut(piece * width));
    let streams = streams.zip(middle.par_chunks_mut(piece * width).zip(out.par_chunks_mut(piece * width)));
    streams
        .zip(wide.zip(log_sum_exp.par_chunks_mut(piece * heads).zip(inner.par_chunks_mut(piece * inner_width))))
        .try_for_each(|(((stream, normed), (middle, out)), ((joined, attended), (log_sum_exp, inner)))| {
            pass.run(Piece { stream, normed, joined, attended, log_sum_exp, middle, inner, out })
        })?;
    Ok((out, Kept { joined, attended, log_sum_exp, middle, inner }))
}

impl Pass<'_> {
    fn run(&self, piece: Piece<'_>) -> candle_core::Result<()> {
        let Piece { stream, normed, joined, attended, log_sum_exp, middle, inner, out } = piece;
        self.projections.multiply(normed, joined);
        let [q, k, v] = split(self.block, self.setting.rope.as_ref(), joined)?;
        let shape = self.setting.attention(&self.block.config, stream.len() / self.block.config.width);
        let keys = Keys { visibility: self.setting.visibility, count: shape.keys };
        let scale = (shape.head_dim as f32).powf(-0.5);
        let segment = KeyValues { keys: &k, values: &v };
        lldm_kernels::attention(shape, &q, &[segment], scale, &keys, attended, Some(log_sum_exp));
        drop([q, k, v]);
        let mut delta = Buffer::new(stream.len());
        self.output.multiply(attended, &mut delta);
        add_norm(&self.block.inner_norm, stream, &delta, middle, normed)?;
        self.widening.multiply(normed, inner);
        let mut activated = Buffer::new(stream.len() / self.block.config.width * self.block.config.inner);
        match &self.block.feed_forward {
            FeedForward::SwiGlu(_) => lldm_kernels::swiglu_joined(inner, self.block.config.inner, &mut activated),
            FeedForward::Gelu(mlp) => lldm_kernels::gelu(mlp.form, inner, &mut activated),
        }
        self.narrowing.multiply(&activated, &mut delta);
        add_norm(self.next, middle, &delta, out, normed)
    }
}

/// Queries, keys and values [N, H Dh] of the joined product.
pub(super) fn split(block: &DecoderBlock, rope: Option<&Rope>, joined: &[f32]) -> candle_core::Result<[Buffer; 3]> {
    let [mut q, mut k, mut v] = [(); 3].map(|()| Buffer::new(joined.len() / 3));
    block.with_split(rope, |split| split.forward(joined, &mut q, &mut k, &mut v))?;
    Ok([q, k, v])
}

fn add_norm(norm: &RmsNorm, x: &[f32], delta: &[f32], sum: &mut [f32], out: &mut [f32]) -> candle_core::Result<()> {
    lldm_kernels::add_rms_norm(x, delta, &tensor(norm.weight())?, norm.eps(), sum, out);
    Ok(())
}
