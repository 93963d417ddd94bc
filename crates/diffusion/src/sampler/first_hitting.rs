//! First-hitting sampling: jumps from one unmasking event to the next, so that each step writes exactly one cell.
//!
//! Zheng et al. 2024 (arXiv 2409.02908), section 4; reference: kuleshov-group/bd3lms `diffusion.py` (`_ddpm_update` with
//! `first_hitting`). With n masked cells the next event under the linear schedule is at t * u^(1/n), at a cell chosen
//! uniformly, with a token drawn from the prediction. It has the law of the continuous-time reverse process and takes
//! at most L forward passes: with exact conditionals it draws from the exact joint distribution, as long as end tokens may be
//! written anywhere ([`crate::EndRule::Free`]).

use serde::{Deserialize, Serialize};

use super::commit::commit;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView};
use crate::noise::Noise;
use crate::rng::{Purpose, StepRng};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "first_hitting",
    aliases: &[],
    presets: &[],
    summary: "writes one uniformly chosen cell at a time, at its exact time under the linear schedule",
    paper: "Zheng et al. 2024, arXiv 2409.02908",
    parameters: &[],
    build: |values| Ok(Box::new(FirstHitting(serde_json::from_value(values)?))),
};

/// The settings of [`FirstHitting`]: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstHittingConfig {}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FirstHitting(pub FirstHittingConfig);

#[derive(Clone)]
struct Run {
    t: f64,
}

impl Sampler for FirstHitting {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    /// As in BD3-LM.
    fn drops_crossing(&self, _: &dyn Noise) -> bool {
        true
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { t: 1.0 })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, rng: &StepRng) -> StepTimes {
        self.t *= rng.uniform(0, Purpose::Time).powf(1.0 / noisy.max(1) as f64);
        StepTimes::new(self.t, self.t)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let eligible: Vec<_> = view.proposals.iter().copied().filter(|cell| cell.eligible).collect();
        if eligible.is_empty() {
            return Vec::new();
        }
        let chosen = view.rng.choice(0, Purpose::Position, eligible.len());
        commit(&eligible[chosen..=chosen])
    }
}
