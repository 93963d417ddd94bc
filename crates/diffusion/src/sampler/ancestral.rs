//! Ancestral sampling of the masked process: T steps of the reverse posterior.
//!
//! MDLM, Sahoo et al. 2024 (arXiv 2406.07524), section 3.4 and algorithm 1; reference: kuleshov-group/mdlm `diffusion.py`
//! (`_ddpm_caching_update`). A masked cell is written with probability (alpha_s - alpha_t) / (1 - alpha_t), with a draw
//! from the prediction. Where the network ignores t, a step that wrote nothing leaves its answer valid: the loop reuses
//! it, so that with many steps most cost no forward pass.
//!
//! Deviation: the last step goes to s = 0 and writes all that is left by a draw, where the reference takes an argmax.

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView, commit};
use crate::registry::{Kind, Parameter};
use crate::rng::{Purpose, StepRng};
use crate::schedule::{self, Schedule};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "ancestral",
    aliases: &[],
    summary: "draws from the reverse posterior in T equal time steps",
    paper: "MDLM, Sahoo et al. 2024, arXiv 2406.07524",
    parameters: &[
        Parameter { name: "steps", kind: Kind::Integer { min: 1 }, default: "64", help: "time steps T for each block" },
        Parameter {
            name: "schedule",
            kind: Kind::Choice(&["linear", "cosine", "log_linear", "geometric", "sqrt"]),
            default: "\"linear\"",
            help: "the noise schedule alpha(t)",
        },
    ],
    build: |values| Ok(Box::new(Ancestral(serde_json::from_value(values)?))),
};

/// The settings of [`Ancestral`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AncestralConfig {
    /// Time steps T for each block.
    pub steps: usize,
    /// The name of the noise schedule.
    pub schedule: String,
}

/// The sampler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ancestral(pub AncestralConfig);

struct Run {
    schedule: Box<dyn Schedule>,
    steps: usize,
    step: usize,
}

impl Default for AncestralConfig {
    fn default() -> Self {
        Self { steps: 64, schedule: "linear".to_string() }
    }
}

impl Sampler for Ancestral {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        // The registry has checked the name; a sampler built by hand with an unknown one gets the paper's schedule.
        let schedule = schedule::by_name(&self.0.schedule).unwrap_or_else(|| Box::new(schedule::Linear));
        Box::new(Run { schedule, steps: self.0.steps.max(1), step: 0 })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        // Cells that no step was allowed to write are left after T steps: the last step is repeated for them.
        let step = self.step.min(self.steps - 1) as f64;
        let steps = self.steps as f64;
        StepTimes::new(1.0 - step / steps, (1.0 - (step + 1.0) / steps).max(0.0))
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let last = self.step + 1 >= self.steps;
        self.step += 1;
        let reveal = if last { 1.0 } else { self.schedule.reveal(view.times.t, view.times.s) };
        let revealed: Vec<_> = view
            .proposals
            .iter()
            .copied()
            .filter(|cell| cell.eligible && view.rng.uniform(cell.position, Purpose::Commit) < reveal)
            .collect();
        commit(&revealed)
    }
}
