//! A layer's reverse pass, over plain slices.
//!
//! Piece by piece the gradient goes back through the layer, and what the gradients of the weights need is left behind; those are
//! then summed over all vectors at once. The gradients of the norms' weights are summed piece by piece, in order.

use lldm_kernels::KeyValues;
use rayon::prelude::*;

use super::forward::{Kept, split};
use super::joined::{Joined, to_weights};
use super::setting::Setting;
use crate::nn::attention::Keys;
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::{DecoderBlock, FeedForward};
use crate::nn::gradients::written;
use crate::nn::norm::RmsNorm;
use crate::nn::slices::tensor;

struct Pass<'a> {
    block: &'a DecoderBlock,
    setting: &'a Setting,
    projections: Joined,
    output: Joined,
    widening: Joined,
    narrowing: Joined,
}

/// Some rows of everything.
struct Piece<'a> {
    /// What the forward pass read and kept. The joined product and the inner units become their gradients.
    stream: &'a [f32],
    joined: &'a mut [f32],
    attended: &'a [f32],
    log_sum_exp: &'a [f32],
    middle: &'a [f32],
    inner: &'a mut [f32],
    /// The gradients of the stream behind the layer, in its middle, and before it.
    behind: &'a [f32],
    between: &'a mut [f32],
    before: &'a mut [f32],
    /// What the products read in the forward pass.
    activated: &'a mut [f32],
    inner_normed: &'a mut [f32],
    input_normed: &'a mut [f32],
    /// The gradients of the norms' weights: input, inner, queries, keys.
    norms: &'a mut [f32],
}

/// The gradient [N, D] of the stream behind the layer to that of the stream before it; hands over those of the weights.
pub(super) fn reverse(
    block: &DecoderBlock,
    setting: &Setting,
    stream: &[f32],
    kept: Kept,
    behind: &[f32],
) -> candle_core::Result<Buffer> {
    let Kept { mut joined, attended, log_sum_exp, middle, mut inner } = kept;
    let pass = Pass {
        block,
        setting,
        projections: Joined::back(&block.projections())?,
        output: Joined::back(&[&block.output])?,
        widening: Joined::back(&block.feed_forward.widening())?,
        narrowing: Joined::back(&[block.feed_forward.narrowing()])?,
    };
    let (count, piece, width, units) = (setting.count(), setting.piece(), block.config.width, block.config.inner);
    let (heads, joined_width, inner_width) = (block.config.heads, joined.len() / count, inner.len() / count);
    let attended_width = attended.len() / count;
    let [mut between, mut before, mut inner_normed, mut input_normed] = [(); 4].map(|()| Buffer::new(count * width));
    let mut activated = Buffer::new(count * units);
    let norms_width = 2 * width + 2 * block.config.head_width;
    let mut norms = Buffer::new(count.div_ceil(piece) * norms_width);
    {
        let streams = stream.par_chunks(piece * width).zip(middle.par_chunks(piece * width));
        let gradients = behind.par_chunks(piece * width).zip(between.par_chunks_mut(piece * width));
        let gradients = gradients.zip(before.par_chunks_mut(piece * width));
        let kept = attended.par_chunks(piece * attended_width).zip(log_sum_exp.par_chunks(piece * heads));
        let wide = joined.par_chunks_mut(piece * joined_width).zip(kept);
        let wide = wide.zip(inner.par_chunks_mut(piece * inner_width).zip(activated.par_chunks_mut(piece * units)));
        let normed = inner_normed.par_chunks_mut(piece * width).zip(input_normed.par_chunks_mut(piece * width));
        let all = streams.zip(gradients).zip(wide.zip(normed)).zip(norms.par_chunks_mut(norms_width));
        all.try_for_each(|((((stream, middle), ((behind, between), before)), (wide, normed)), norms)| {
            let (((joined, (attended, log_sum_exp)), (inner, activated)), (inner_normed, input_normed)) =
                (wide, normed);
            pass.run(Piece {
                stream,
                joined,
                attended,
                log_sum_exp,
                middle,
                inner,
                behind,
                between,
                before,
                activated,
                inner_normed,
                input_normed,
                norms,
            })
        })?;
    }
    to_weights(&[block.feed_forward.narrowing()], count, &activated, behind)?;
    to_weights(&block.feed_forward.widening(), count, &inner_normed, &inner)?;
    to_weights(&[&block.output], count, &attended, &between)?;
    to_weights(&block.projections(), count, &input_normed, &joined)?;
    norms_to_weights(block, &norms, norms_width)?;
    Ok(before)
}

impl Pass<'_> {
    fn run(&self, piece: Piece<'_>) -> candle_core::Result<()> {
        let config = &self.block.config;
        let (for_norms, for_heads) = piece.norms.split_at_mut(2 * config.width);
        let (for_input, for_inner) = for_norms.split_at_mut(config.width);
        let mut delta = Buffer::new(piece.stream.len());
        self.narrowing.multiply(piece.behind, piece.activated);
        match &self.block.feed_forward {
            FeedForward::SwiGlu(_) => lldm_kernels::swiglu_joined_backward(piece.inner, config.inner, piece.activated),
            FeedForward::Gelu(mlp) => lldm_kernels::gelu_backward(mlp.form, piece.inner, piece.activated),
        }
        self.widening.multiply(piece.inner, &mut delta);
        piece.between.copy_from_slice(piece.behind);
        let inner_norm = &self.block.inner_norm;
        through_norm(inner_norm, piece.middle, &delta, piece.between, piece.inner_normed, for_inner)?;
        self.attention(&mut piece.joined[..], [piece.attended, piece.log_sum_exp], piece.between, for_heads)?;
        self.projections.multiply(piece.joined, &mut delta);
        piece.before.copy_from_slice(piece.between);
        let input_norm = &self.block.input_norm;
        through_norm(input_norm, piece.stream, &delta, piece.before, piece.input_normed, for_input)
    }

    /// Back through the output projection, the attention, and the way from the joined product to it.
    fn attention(
        &self,
        joined: &mut [f32],
        [attended, log_sum_exp]: [&[f32]; 2],
        grad: &[f32],
        norms: &mut [f32],
    ) -> candle_core::Result<()> {
        let shape = self.setting.attention(&self.block.config, grad.len() / self.block.config.width);
        let [q, k, v] = split(self.block, self.setting.rope.as_ref(), joined)?;
        let mut grad_attended = Buffer::new(q.len());
        self.output.multiply(grad, &mut grad_attended);
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
            &grad_attended,
            &mut grad_q,
            &mut grad_k,
            &mut grad_v,
        );
        let rope = self.setting.rope.as_ref();
        self.block.with_split(rope, |split| split.backward(joined, [&grad_q, &grad_k, &grad_v], norms))
    }
}

/// Adds what comes back through a norm to the gradient of the stream that it read, and computes once more what it gave.
fn through_norm(
    norm: &RmsNorm,
    stream: &[f32],
    delta: &[f32],
    grad: &mut [f32],
    normed: &mut [f32],
    for_weight: &mut [f32],
) -> candle_core::Result<()> {
    let scales = tensor(norm.weight())?;
    lldm_kernels::rms_norm(stream, &scales, norm.eps(), normed);
    lldm_kernels::rms_norm_backward_add(stream, &scales, norm.eps(), delta, grad, for_weight);
    Ok(())
}

/// Hands over the gradients of the norms' weights, the pieces added in order.
fn norms_to_weights(block: &DecoderBlock, pieces: &[f32], width: usize) -> candle_core::Result<()> {
    let mut start = 0;
    let heads = block.head_norms.iter().flat_map(|(query, key)| [query, key]);
    for norm in [&block.input_norm, &block.inner_norm].into_iter().chain(heads) {
        let count = norm.weight().elem_count();
        written(norm.weight(), |out| {
            out.fill(0.0);
            for piece in pieces.chunks_exact(width) {
                lldm_kernels::vector::add(&piece[start..start + count], out);
            }
        })?;
        start += count;
    }
    Ok(())
}
