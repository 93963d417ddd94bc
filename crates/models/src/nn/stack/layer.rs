//! A layer, there and back, over plain slices.
//!
//! Both halves of a piece run one after the other on one core. Only where the last layer is not asked for all vectors its second
//! half runs over those that are, brought together. What is kept is the residual stream, the joined products and the attention's
//! output; norms, queries, keys, values and activations are computed again, as that is cheaper than to keep them in memory. The
//! gradients of weights are summed over all vectors at once, those of the norms' weights piece by piece, in order.

use rayon::prelude::*;

use super::attention_half::{Attend, AttendBack, AttendPiece};
use super::feed_forward_half::{Feed, FeedBack, FeedBackPiece, FeedPiece};
use super::joined::to_weights;
use super::setting::{PIECE, Setting};
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::DecoderBlock;
use crate::nn::gradients::written;
use crate::nn::norm::RmsNorm;

/// What a layer keeps for its reverse pass. N vectors go through its first half, M through its second.
pub(super) struct Kept {
    /// [N, 3 D]: queries, keys and values as the product gives them.
    joined: Buffer,
    /// What the attention gives, [N, D].
    attended: Buffer,
    /// The M rows of it, where they are not all.
    selected: Option<Buffer>,
    /// [B, H, L].
    log_sum_exp: Buffer,
    /// The stream between the halves, [M, D].
    middle: Buffer,
    /// The inner units before the activation: [M, F], or [M, 2 F] with a gate.
    inner: Buffer,
}

/// The stream [N, D] and what the input norm makes of it, to the stream behind the layer, [M, D]; `normed` becomes what `next`
/// makes of that. The M vectors are `rows`, or all.
pub(super) fn forward(
    block: &DecoderBlock,
    setting: &Setting,
    rows: Option<&[u32]>,
    stream: &[f32],
    normed: &mut Buffer,
    next: &RmsNorm,
) -> candle_core::Result<(Buffer, Kept)> {
    let (attend, feed) = (Attend::new(block, setting)?, Feed::new(block, next)?);
    let (width, attended_width) = (block.config.width, block.config.heads * block.config.head_width);
    let (heads, inner_width) = (block.config.heads, feed.inner_width());
    let (count, piece) = (setting.count(), setting.piece());
    let left = rows.map_or(count, <[u32]>::len);
    let (mut joined, mut attended) = (Buffer::new(count * 3 * attended_width), Buffer::new(count * attended_width));
    let mut log_sum_exp = Buffer::new(count * heads);
    let (mut middle, mut inner) = (Buffer::new(left * width), Buffer::new(left * inner_width));
    let mut out = Buffer::new(left * width);
    let halves = joined.par_chunks_mut(piece * 3 * attended_width).zip(attended.par_chunks_mut(piece * attended_width));
    let halves = halves.zip(log_sum_exp.par_chunks_mut(piece * heads)).zip(normed.par_chunks_mut(piece * width));
    let size = if rows.is_some() { PIECE } else { piece };
    let seconds = middle.par_chunks_mut(size * width).zip(inner.par_chunks_mut(size * inner_width));
    let seconds = seconds.zip(out.par_chunks_mut(size * width));
    let mut selected = None;
    if let Some(rows) = rows {
        halves.try_for_each(|(((joined, attended), lse), normed)| attend.run(normed, joined, attended, lse))?;
        let [mut streams, mut normeds] = [(); 2].map(|()| Buffer::new(left * width));
        let mut attendeds = Buffer::new(left * attended_width);
        lldm_kernels::gather_rows(stream, width, rows, &mut streams);
        lldm_kernels::gather_rows(&attended, attended_width, rows, &mut attendeds);
        let inputs = streams.par_chunks(size * width).zip(attendeds.par_chunks(size * attended_width));
        inputs.zip(seconds.zip(normeds.par_chunks_mut(size * width))).try_for_each(
            |((stream, attended), (((middle, inner), out), normed))| {
                feed.run(stream, attended, FeedPiece { middle, normed, inner, out })
            },
        )?;
        *normed = normeds;
        selected = Some(attendeds);
    } else {
        let streams = stream.par_chunks(piece * width);
        streams.zip(halves.zip(seconds)).try_for_each(
            |(stream, ((((joined, attended), lse), normed), ((middle, inner), out)))| {
                attend.run(normed, joined, attended, lse)?;
                feed.run(stream, attended, FeedPiece { middle, normed, inner, out })
            },
        )?;
    }
    Ok((out, Kept { joined, attended, selected, log_sum_exp, middle, inner }))
}

/// The gradient [M, D] of the stream behind the layer to that of the stream before it, [N, D]; hands over those of the weights.
pub(super) fn reverse(
    block: &DecoderBlock,
    setting: &Setting,
    rows: Option<&[u32]>,
    stream: &[f32],
    kept: Kept,
    behind: &[f32],
) -> candle_core::Result<Buffer> {
    let Kept { mut joined, attended, selected, log_sum_exp, middle, mut inner } = kept;
    let (attend, feed) = (AttendBack::new(block, setting)?, FeedBack::new(block)?);
    let (width, units, heads) = (block.config.width, block.config.inner, block.config.heads);
    let attended_width = heads * block.config.head_width;
    let (count, left, piece) = (setting.count(), behind.len() / width, setting.piece());
    let size = if rows.is_some() { PIECE } else { piece };
    let inner_width = feed.inner_width();

    let [mut between, mut inner_normed] = [(); 2].map(|()| Buffer::new(left * width));
    let mut activated = Buffer::new(left * units);
    let mut grad_attended = Buffer::new(left * attended_width);
    let mut inner_norms = Buffer::new(left.div_ceil(size) * width);
    let seconds = middle.par_chunks(size * width).zip(inner.par_chunks_mut(size * inner_width));
    let seconds = seconds.zip(behind.par_chunks(size * width).zip(between.par_chunks_mut(size * width)));
    let seconds = seconds.zip(grad_attended.par_chunks_mut(size * attended_width));
    let seconds = seconds.zip(activated.par_chunks_mut(size * units).zip(inner_normed.par_chunks_mut(size * width)));
    let seconds = seconds.zip(inner_norms.par_chunks_mut(width)).map(
        |(((((middle, inner), (behind, between)), grad_attended), (activated, normed)), norm)| FeedBackPiece {
            middle,
            inner,
            behind,
            between,
            grad_attended,
            activated,
            normed,
            norm,
        },
    );
    seconds.try_for_each(|piece| feed.run(piece))?;
    to_weights(&[block.feed_forward.narrowing()], left, &activated, behind)?;
    to_weights(&block.feed_forward.widening(), left, &inner_normed, &inner)?;
    to_weights(&[&block.output], left, selected.as_ref().unwrap_or(&attended), &between)?;
    drop((activated, inner_normed, inner, middle, selected));

    if let Some(rows) = rows {
        let spread = |rows_of: &Buffer, width: usize| {
            let mut all = Buffer::zeros(count * width);
            lldm_kernels::scatter_add_rows(rows_of, width, rows, &mut all);
            all
        };
        between = spread(&between, width);
        grad_attended = spread(&grad_attended, attended_width);
    }
    let [mut before, mut input_normed] = [(); 2].map(|()| Buffer::new(count * width));
    let norms_width = width + 2 * block.config.head_width;
    let mut norms = Buffer::new(count.div_ceil(piece) * norms_width);
    let firsts = stream.par_chunks(piece * width).zip(joined.par_chunks_mut(piece * 3 * attended_width));
    let firsts = firsts.zip(attended.par_chunks(piece * attended_width).zip(log_sum_exp.par_chunks(piece * heads)));
    let firsts = firsts.zip(grad_attended.par_chunks(piece * attended_width).zip(between.par_chunks(piece * width)));
    let firsts = firsts.zip(before.par_chunks_mut(piece * width).zip(input_normed.par_chunks_mut(piece * width)));
    let firsts = firsts.zip(norms.par_chunks_mut(norms_width)).map(
        |(((((stream, joined), kept), (grad_attended, between)), (before, normed)), norms)| AttendPiece {
            stream,
            joined,
            attended: kept.0,
            log_sum_exp: kept.1,
            grad_attended,
            between,
            before,
            normed,
            norms,
        },
    );
    firsts.try_for_each(|piece| attend.run(piece))?;
    to_weights(&block.projections(), count, &input_normed, &joined)?;

    summed(&block.inner_norm, &inner_norms, width, 0)?;
    summed(&block.input_norm, &norms, norms_width, 0)?;
    if let Some((query, key)) = &block.head_norms {
        summed(query, &norms, norms_width, width)?;
        summed(key, &norms, norms_width, width + block.config.head_width)?;
    }
    Ok(before)
}

/// Hands over the gradient of a norm's weight: the sum over pieces of `width` values each, in order, from `start` on.
fn summed(norm: &RmsNorm, pieces: &[f32], width: usize, start: usize) -> candle_core::Result<()> {
    written(norm.weight(), |out| {
        out.fill(0.0);
        for piece in pieces.chunks_exact(width) {
            lldm_kernels::vector::add(&piece[start..start + out.len()], out);
        }
    })?;
    Ok(())
}
