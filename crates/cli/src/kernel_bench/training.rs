//! A training step of a small transformer, beside the same network in candle's operations and autograd in f32.

use anyhow::{Result, bail};
use lldm_kernels::peak::f32_instruction;
use lldm_kernels::{Bf16Path, bf16_path};
use lldm_train::step_bench::{StepBenchConfig, step_bench};

use super::report::Row;
use super::setting::Setting;
use crate::render::plain;

/// What the losses may part by, as a share of the loss: bf16 rounds at a 256th.
const MOST_APART: f64 = 0.005;

/// One row: forward, backward and update, 2 operations a product.
pub(super) fn rows(setting: &Setting) -> Result<Vec<Row>> {
    if !setting.wants("training_step") {
        return Ok(Vec::new());
    }
    let config = StepBenchConfig::default();
    let StepBenchConfig { layers, width, length, batch, vocabulary, .. } = config;
    plain::note(&format!("measuring training_step, {batch} x {length}, {layers} layers of {width}"));
    let found = step_bench(&config)?;
    let Some(loss) = found.candle.losses.last() else { bail!("no step was measured") };
    let apart = found.largest_loss_difference;
    // A network that learns something else would be no faster at the same thing.
    if apart > MOST_APART * loss {
        bail!(
            "our losses and candle's part by {apart:.4} nats at a loss of {loss:.3}: the two do not train the same network"
        );
    }
    plain::note(&format!("the losses of the two part by at most {apart:.4} nats, the last is {loss:.3}"));
    let tokens = (batch * length) as f64;
    // Backward does each product twice; scores and their weighted sums are two products of L x L a layer.
    let work = 6.0 * tokens * (found.parameters as f64 + (2 * layers * length * width) as f64);
    let seconds = [tokens / found.own.tokens_per_second, tokens / found.candle.tokens_per_second];
    let path = bf16_path();
    let peak = match path {
        Bf16Path::Portable => setting.peak_of(f32_instruction(), "f32"),
        _ => setting.peak_of(path.name(), "bf16"),
    };
    let shape = [batch, length, layers, width, vocabulary];
    Ok(vec![Row::new(setting, "training_step", path.name(), "bf16", peak, &shape, work, &seconds)])
}
