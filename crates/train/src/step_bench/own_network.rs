//! The same transformer of our layers: bf16 products, fused operations, our reverse pass and optimizer.

use lldm_kernels::Gelu;
use lldm_models::nn::{
    CrossEntropy, DecoderBlock, DecoderBlockConfig, Embedding, FeedForwardKind, Init, Linear, Precision, RmsNorm,
    Visibility, backward, decode,
};

use super::compare::StepBenchConfig;
use super::stream::Batch;
use crate::error::Result;
use crate::optimizer::{Optimizer, OptimizerConfig};
use crate::parameters::Parameters;

pub(super) struct OwnNetwork {
    config: StepBenchConfig,
    pub(super) parameters: Parameters,
    embedding: Embedding,
    blocks: Vec<DecoderBlock>,
    norm: RmsNorm,
    head: Linear,
    optimizer: Optimizer,
}

impl OwnNetwork {
    pub(super) fn new(config: StepBenchConfig, optimizer: OptimizerConfig) -> Result<Self> {
        let StepBenchConfig { layers, width, heads, inner, vocabulary, eps, .. } = config;
        let weights = &mut Parameters::new(1, Precision::Bf16);
        let feed_forward = FeedForwardKind::Gelu(Gelu::Tanh);
        let block =
            DecoderBlockConfig { width, heads, head_width: width / heads, inner, eps, qk_norm: false, feed_forward };
        let embedding = Embedding::new(weights, "model.embed_tokens", vocabulary, width)?;
        let blocks = (0..layers).map(|layer| DecoderBlock::new(weights, &format!("model.layers.{layer}"), block));
        let blocks = blocks.collect::<lldm_models::Result<_>>()?;
        let norm = RmsNorm::new(weights, "model.norm", width, eps)?;
        let head = Linear::new(weights, "lm_head", width, vocabulary, Init::Normal(0.02))?;
        let optimizer = Optimizer::new(optimizer, weights);
        Ok(Self { config, parameters: weights.clone(), embedding, blocks, norm, head, optimizer })
    }

    /// One update; the loss.
    pub(super) fn step(&mut self, batch: &Batch, step: usize) -> Result<f64> {
        let cells = batch.tokens.len();
        let x = self.embedding.forward(&batch.tokens)?;
        let hidden = decode(&self.blocks, &self.norm, &x, self.config.batch, None, Visibility::Full, None)?;
        let weights = vec![1.0 / cells as f32; cells];
        let spec = CrossEntropy { targets: batch.targets.clone(), weights, banned: None };
        let loss = self.head.cross_entropy(&hidden, spec)?;
        let grads = backward(&loss)?;
        self.optimizer.update(&self.parameters, &grads, step, usize::MAX)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}
