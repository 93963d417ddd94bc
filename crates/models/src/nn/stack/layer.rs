//! One layer of a stack, there and back, over plain slices.
//!
//! Forward, each residual sum and the norm that reads it are one pass. What is kept is the residual stream, the joined products
//! and the attention's output; norms, queries, keys, values and activations are computed again, as that is cheaper than to keep
//! them in memory. The gradient of the residual stream is added to in place.

use lldm_kernels::{AttentionShape, KeyValues, Rotation, SplitHeads};

use super::joined::Joined;
use crate::nn::attention::{Keys, Visibility};
use crate::nn::buffer::Buffer;
use crate::nn::decoder_block::{DecoderBlock, FeedForward};
use crate::nn::gradients::written;
use crate::nn::norm::RmsNorm;
use crate::nn::rope::Rope;
use crate::nn::slices::tensor;

/// What the layers of a stack share.
pub(super) struct Setting {
    pub(super) batch: usize,
    pub(super) rope: Option<Rope>,
    pub(super) visibility: Visibility,
}

/// What a layer keeps for its reverse pass.
pub(super) struct Kept {
    /// [N, 3 D]: queries, keys and values as the product gives them.
    joined: Buffer,
    /// [N, D].
    attended: Buffer,
    /// [B, H, L].
    log_sum_exp: Buffer,
    /// The stream between attention and feed-forward, [N, D].
    middle: Buffer,
    /// The inner units before the activation: [N, F], or [N, 2 F] with a gate.
    inner: Buffer,
}

/// The layer's passes.
pub(super) struct Pass<'a> {
    block: &'a DecoderBlock,
    setting: &'a Setting,
    projections: Joined<'a>,
    output: Joined<'a>,
    widening: Joined<'a>,
    narrowing: Joined<'a>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(block: &'a DecoderBlock, setting: &'a Setting) -> candle_core::Result<Self> {
        let (widening, narrowing) = match &block.feed_forward {
            FeedForward::SwiGlu(mlp) => (vec![&mlp.gate, &mlp.up], &mlp.down),
            FeedForward::Gelu(mlp) => (vec![&mlp.up], &mlp.down),
        };
        Ok(Self {
            block,
            setting,
            projections: Joined::new(vec![&block.query, &block.key, &block.value])?,
            output: Joined::new(vec![&block.output])?,
            widening: Joined::new(widening)?,
            narrowing: Joined::new(vec![narrowing])?,
        })
    }

    /// The stream [N, D] and what the input norm makes of it, to the stream behind the layer; `normed` becomes what `next` makes
    /// of that.
    pub(super) fn forward(
        &self,
        stream: &[f32],
        normed: &mut [f32],
        next: &RmsNorm,
    ) -> candle_core::Result<(Buffer, Kept)> {
        let joined = self.projections.forward(normed);
        let [q, k, v] = self.split(&joined)?;
        let shape = self.shape(stream.len());
        let keys = Keys { visibility: self.setting.visibility, count: shape.keys };
        let (mut attended, mut log_sum_exp) = (Buffer::new(q.len()), Buffer::new(shape.lse_len()));
        let scale = (shape.head_dim as f32).powf(-0.5);
        let segment = KeyValues { keys: &k, values: &v };
        lldm_kernels::attention(shape, &q, &[segment], scale, &keys, &mut attended, Some(&mut log_sum_exp));
        drop([q, k, v]);
        let delta = self.output.forward(&attended);
        let mut middle = Buffer::new(stream.len());
        add_norm(&self.block.inner_norm, stream, &delta, &mut middle, normed)?;
        let inner = self.widening.forward(normed);
        let delta = self.narrowing.forward(&self.activate(&inner));
        let mut out = Buffer::new(stream.len());
        add_norm(next, &middle, &delta, &mut out, normed)?;
        Ok((out, Kept { joined, attended, log_sum_exp, middle, inner }))
    }

    /// Turns the gradient of the stream behind the layer into that of the stream before it; hands over those of the weights.
    pub(super) fn backward(&self, stream: &[f32], kept: Kept, grad: &mut [f32]) -> candle_core::Result<()> {
        let Kept { mut joined, attended, log_sum_exp, middle, mut inner } = kept;
        let mut activated = self.narrowing.to_input(grad);
        self.deactivate(&mut inner, &mut activated);
        self.narrowing.to_weights(&activated, grad)?;
        drop(activated);
        self.through_norm(&self.block.inner_norm, &self.widening, &middle, &inner, grad)?;
        drop((middle, inner));

        let grad_attended = self.output.to_input(grad);
        self.output.to_weights(&attended, grad)?;
        let [q, k, v] = self.split(&joined)?;
        let shape = self.shape(stream.len());
        let keys = Keys { visibility: self.setting.visibility, count: shape.keys };
        let scale = (shape.head_dim as f32).powf(-0.5);
        let [mut grad_q, mut grad_k, mut grad_v] = [(); 3].map(|()| Buffer::new(q.len()));
        lldm_kernels::attention_backward(
            shape,
            &q,
            &[KeyValues { keys: &k, values: &v }],
            scale,
            &keys,
            &attended,
            &log_sum_exp,
            &grad_attended,
            &mut grad_q,
            &mut grad_k,
            &mut grad_v,
        );
        drop([q, k, v, attended, grad_attended]);
        let mut norms = vec![0.0; 2 * shape.head_dim];
        self.with_split(|split| split.backward(&mut joined, [&grad_q, &grad_k, &grad_v], &mut norms))?;
        if let Some((query, key)) = &self.block.head_norms {
            let (for_query, for_key) = norms.split_at(shape.head_dim);
            written(query.weight(), |out| out.copy_from_slice(for_query))?;
            written(key.weight(), |out| out.copy_from_slice(for_key))?;
        }
        self.through_norm(&self.block.input_norm, &self.projections, stream, &joined, grad)
    }

    /// Back through a joined product and the norm before it: `inner` is the gradient of the product's output, `stream` what the
    /// norm read.
    fn through_norm(
        &self,
        norm: &RmsNorm,
        product: &Joined<'_>,
        stream: &[f32],
        inner: &[f32],
        grad: &mut [f32],
    ) -> candle_core::Result<()> {
        let scales = tensor(norm.weight())?;
        let mut normed = Buffer::new(stream.len());
        lldm_kernels::rms_norm(stream, &scales, norm.eps(), &mut normed);
        product.to_weights(&normed, inner)?;
        drop(normed);
        let grad_normed = product.to_input(inner);
        written(norm.weight(), |out| {
            lldm_kernels::rms_norm_backward_add(stream, &scales, norm.eps(), &grad_normed, grad, out);
        })?;
        Ok(())
    }

    fn activate(&self, inner: &[f32]) -> Buffer {
        match &self.block.feed_forward {
            FeedForward::SwiGlu(_) => {
                let mut out = Buffer::new(inner.len() / 2);
                lldm_kernels::swiglu_joined(inner, self.block.config.inner, &mut out);
                out
            }
            FeedForward::Gelu(mlp) => {
                let mut out = Buffer::new(inner.len());
                lldm_kernels::gelu(mlp.form, inner, &mut out);
                out
            }
        }
    }

    /// `inner` becomes its gradient; the gradient behind the activation becomes what the activation gave.
    fn deactivate(&self, inner: &mut [f32], grad: &mut [f32]) {
        match &self.block.feed_forward {
            FeedForward::SwiGlu(_) => lldm_kernels::swiglu_joined_backward(inner, self.block.config.inner, grad),
            FeedForward::Gelu(mlp) => lldm_kernels::gelu_backward(mlp.form, inner, grad),
        }
    }

    fn split(&self, joined: &[f32]) -> candle_core::Result<[Buffer; 3]> {
        let [mut q, mut k, mut v] = [(); 3].map(|()| Buffer::new(joined.len() / 3));
        self.with_split(|split| split.forward(joined, &mut q, &mut k, &mut v))?;
        Ok([q, k, v])
    }

    fn with_split(&self, f: impl FnOnce(SplitHeads<'_>)) -> candle_core::Result<()> {
        let config = &self.block.config;
        let norms = self.block.head_norms.as_ref();
        let weights =
            norms.map(|(query, key)| Ok::<_, candle_core::Error>((tensor(query.weight())?, tensor(key.weight())?)));
        let weights = weights.transpose()?;
        let rotation = self.setting.rope.as_ref().map(Rope::rotation);
        let eps = norms.map_or(0.0, |(query, _)| query.eps());
        f(SplitHeads {
            heads: config.heads,
            head_dim: config.head_width,
            norms: weights.as_ref().map(|(query, key)| ([&**query, &**key], eps)),
            rotation: rotation.map(|(cos, sin, positions)| Rotation { cos, sin, positions }),
        });
        Ok(())
    }

    /// The attention's sizes for a stream of that many values.
    fn shape(&self, values: usize) -> AttentionShape {
        let config = &self.block.config;
        let length = values / config.width / self.setting.batch;
        let (heads, head_dim) = (config.heads, config.head_width);
        AttentionShape { batch: self.setting.batch, heads, kv_heads: heads, queries: length, keys: length, head_dim }
    }
}

fn add_norm(norm: &RmsNorm, x: &[f32], delta: &[f32], sum: &mut [f32], out: &mut [f32]) -> candle_core::Result<()> {
    lldm_kernels::add_rms_norm(x, delta, &tensor(norm.weight())?, norm.eps(), sum, out);
    Ok(())
}
