//! The transformer composed of candle's own operations in f32, with candle's reverse pass and AdamW in its operations: the peer.
//!
//! Softmax, log-softmax, RMSNorm and AdamW are composed as in candle-nn 0.11 (`ops::softmax`, `ops::log_softmax`, `RmsNorm`'s
//! differentiable form, `AdamW::step`), but that the largest logit of a softmax is a constant to the reverse pass, which saves
//! candle some work.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Tensor, Var};

use super::compare::StepBenchConfig;
use super::stream::Batch;
use crate::error::Result;
use crate::optimizer::OptimizerConfig;
use crate::parameters::Parameters;

/// Parameters and moments by name.
pub(super) struct CandleNetwork {
    config: StepBenchConfig,
    vars: BTreeMap<String, (Var, Var, Var)>,
    optimizer: OptimizerConfig,
}

impl CandleNetwork {
    /// Begins with copies of these parameters.
    pub(super) fn new(config: StepBenchConfig, optimizer: OptimizerConfig, parameters: &Parameters) -> Result<Self> {
        let copy = |(name, var): (&str, &Var)| {
            let zeros = || Var::zeros(var.shape(), DType::F32, &Device::Cpu);
            Ok((name.to_string(), (Var::from_tensor(&var.copy()?)?, zeros()?, zeros()?)))
        };
        Ok(Self { config, optimizer, vars: parameters.iter().map(copy).collect::<Result<_>>()? })
    }

    /// One update; the loss.
    pub(super) fn step(&mut self, batch: &Batch, step: usize) -> Result<f64> {
        let loss = self.loss(batch)?;
        let grads = loss.backward()?;
        let OptimizerConfig { learning_rate: rate, betas: (b1, b2), weight_decay, .. } = self.optimizer;
        let rate = rate * self.optimizer.schedule.factor(step, usize::MAX);
        let (c1, c2) = (1.0 / (1.0 - b1.powi(step as i32 + 1)), 1.0 / (1.0 - b2.powi(step as i32 + 1)));
        for (theta, first, second) in self.vars.values() {
            let Some(grad) = grads.get(theta) else { continue };
            let decay = if theta.dims().len() == 2 { weight_decay } else { 0.0 };
            let m = ((first.as_tensor() * b1)? + (grad * (1.0 - b1))?)?;
            let v = ((second.as_tensor() * b2)? + (grad.sqr()? * (1.0 - b2))?)?;
            let (m_hat, v_hat) = ((&m * c1)?, (&v * c2)?);
            let moved = (theta.as_tensor() * (1.0 - rate * decay))?;
            let by = (m_hat / (v_hat.sqrt()? + 1e-8)?)?;
            first.set(&m)?;
            second.set(&v)?;
            theta.set(&(moved - (by * rate)?)?)?;
        }
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }

    fn loss(&self, batch: &Batch) -> Result<Tensor> {
        let StepBenchConfig { layers, width, heads, length, batch: rows, .. } = self.config;
        let (cells, head_width) = (rows * length, width / heads);
        let tokens = Tensor::new(batch.tokens.as_slice(), &Device::Cpu)?;
        let mut x = self.weight("model.embed_tokens.weight").index_select(&tokens, 0)?;
        for layer in 0..layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            let normed = self.norm(&x, &name("input_layernorm"))?;
            let split = |part: &str| {
                let all = self.linear(&normed, &name(&format!("self_attn.{part}")))?;
                all.reshape((rows, length, heads, head_width))?.transpose(1, 2)?.contiguous()
            };
            let (q, k, v) = (split("q_proj")?, split("k_proj")?, split("v_proj")?);
            let scores = (q.matmul(&k.t()?)? * (head_width as f64).powf(-0.5))?;
            let exps = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
            let shares = exps.broadcast_div(&exps.sum_keepdim(D::Minus1)?)?;
            let attended = shares.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((cells, width))?;
            x = (x + self.linear(&attended, &name("self_attn.o_proj"))?)?;
            let normed = self.norm(&x, &name("post_attention_layernorm"))?;
            let inner = self.linear(&normed, &name("mlp.up_proj"))?.gelu()?;
            x = (x + self.linear(&inner, &name("mlp.down_proj"))?)?;
        }
        let logits = self.linear(&self.norm(&x, "model.norm.weight")?, "lm_head.weight")?;
        let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
        let log_softmax = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
        let targets = Tensor::new(batch.targets.as_slice(), &Device::Cpu)?.unsqueeze(1)?;
        Ok((log_softmax.gather(&targets, 1)?.sum_all()? * (-1.0 / cells as f64))?)
    }

    fn linear(&self, x: &Tensor, name: &str) -> candle_core::Result<Tensor> {
        x.matmul(&self.weight(name).t()?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> candle_core::Result<Tensor> {
        let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / self.config.width as f64)?;
        x.broadcast_div(&(mean + self.config.eps)?.sqrt()?)?.broadcast_mul(self.weight(name))
    }

    fn weight(&self, name: &str) -> &Tensor {
        let found = self.vars.get(name);
        assert!(found.is_some(), "both networks have the same parameters, {name} among them");
        self.vars[name].0.as_tensor()
    }
}
