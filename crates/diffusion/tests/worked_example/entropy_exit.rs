//! Entropy exit: every cell whose entropy is low enough is written at once, and always the surest cell.
//!
//! The rule of several CPU engines for LLaDA; a fixed ceiling where `entropy_bound` has a budget for all cells together.

use serde_json::{Value, json};

use lldm_diffusion::registry::Kind;
use lldm_diffusion::sampler::registry::Spec;
use lldm_diffusion::sampler::{Action, BlockSampler, BlockStart, Rank, Sampler, StepTimes, StepView, commit};
use lldm_diffusion::{StepRng, settings};

/// The registry's entry.
pub const SPEC: Spec = Spec {
    name: "entropy_exit",
    aliases: &[],
    presets: &[],
    summary: "writes every cell of little entropy, and always the surest",
    paper: "none; the default of several CPU engines for LLaDA",
    parameters: EntropyExitConfig::PARAMETERS,
    build: |values| Ok(Box::new(EntropyExit(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`EntropyExit`].
    EntropyExitConfig {
        entropy: f64 = 1.5 => "1.5", Kind::Number { min: 0.0, max: f64::INFINITY },
            "the entropy below which a cell is written, in nats";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EntropyExit(pub EntropyExitConfig);

#[derive(Clone)]
struct Run {
    entropy: f64,
    total: usize,
}

impl Sampler for EntropyExit {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> Value {
        json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { entropy: self.0.entropy, total: block.noisy })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &StepRng) -> StepTimes {
        StepTimes::by_count(noisy, self.total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let ranked = Rank::Entropy.order(view);
        let sure = ranked.iter().take_while(|cell| cell.proposal.entropy < self.entropy).count();
        commit(&ranked[..sure.max(1).min(ranked.len())])
    }
}
