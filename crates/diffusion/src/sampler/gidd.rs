//! Ancestral sampling with self-correction: after the last step single tokens are drawn anew where the model is surest of
//! another one.
//!
//! GIDD, von Rütte et al. 2025 (arXiv 2503.04482), sections 4.4 and 5.3; reference: dvruette/gidd `sampling.py` and
//! `eval/self_correction.py`. A correction step asks the model at a small time, draws a token for every cell from the
//! tempered prediction, and takes the `tokens_per_step` draws that differ from what is held and are the most probable. It
//! ends after `correction_steps`, when nothing changes, or when the share of cells that hold the argmax has not grown for
//! more than `patience` steps. The text then stands as it is.
//!
//! Deviation: the time grid goes from 1 to 0; under `compat = "reference"` it is that of the reference, which starts one step
//! below 1 and makes its last step from t to t.

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, CellProposal, Reads, Sampler, StepTimes, StepView};
use super::transition::{Settle, draw, posteriors};
use crate::contract::{Compat, Statistics};
use crate::noise::{Mixture, Noise};
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "gidd",
    aliases: &["self_correction"],
    presets: &[],
    summary: "draws from the reverse posterior, then corrects the tokens that the model doubts",
    paper: "GIDD, von Rütte et al. 2025, arXiv 2503.04482",
    parameters: GiddConfig::PARAMETERS,
    build: |values| Ok(Box::new(Gidd(serde_json::from_value(values)?))),
};

/// The time at which the model is asked while correcting.
const CORRECTION_TIME: f64 = 0.01;
/// How near to 0 and 1 the reference's grid goes.
const REFERENCE_EPS: f64 = 1e-4;

settings! {
    /// The settings of [`Gidd`].
    GiddConfig {
        steps: usize = 64 => "64", Kind::Integer { min: 1 }, "time steps T for each block";
        correction_steps: usize = 32 => "32", Kind::Integer { min: 0 }, "the most steps of self-correction";
        correction_temperature: f64 = 0.1 => "0.1", Kind::Number { min: 0.0, max: f64::INFINITY }, "what the temperature is multiplied by while correcting";
        tokens_per_step: usize = 1 => "1", Kind::Integer { min: 1 }, "tokens changed in a step of correction";
        patience: usize = 32 => "32", Kind::Integer { min: 0 }, "steps of correction without a better text";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gidd(pub GiddConfig);

#[derive(Clone)]
struct Run {
    config: GiddConfig,
    compat: Compat,
    step: usize,
    correcting: bool,
    corrections: usize,
    /// The largest share of cells that held the argmax, and the steps since.
    agreement: (f64, usize),
}

impl Sampler for Gidd {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        let (config, compat) = (self.0, block.compat);
        Box::new(Run { config, compat, step: 0, correcting: false, corrections: 0, agreement: (0.0, 0) })
    }

    fn reads(&self, _: &dyn Noise) -> Reads {
        Reads::Open
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &StepRng) -> StepTimes {
        let steps = self.config.steps.max(1);
        self.correcting = self.step >= steps && noisy == 0;
        if self.correcting {
            let heat = self.config.correction_temperature;
            return StepTimes { heat, ..StepTimes::new(CORRECTION_TIME, CORRECTION_TIME) };
        }
        let at = |step: usize| step as f64 / steps as f64;
        if self.compat == Compat::Reference {
            let grid = |step: usize| (1.0 - 2.0 * REFERENCE_EPS) * at(step) + REFERENCE_EPS;
            // What the reference leaves as masks is written after its steps.
            return match (steps - 1).checked_sub(self.step) {
                Some(from) => StepTimes::new(grid(from), grid(from.saturating_sub(1))),
                None => StepTimes::new(REFERENCE_EPS, 0.0),
            };
        }
        let step = self.step.min(steps - 1);
        StepTimes::new(1.0 - at(step), (1.0 - at(step + 1)).max(0.0))
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        self.step += 1;
        if !self.correcting {
            let ends = self.step >= self.config.steps && self.config.correction_steps == 0;
            return draw(view, &posteriors(view), if ends { Settle::Commit } else { Settle::Draft });
        }
        let held = |cell: &CellProposal| view.canvas.tokens()[cell.position];
        let count = view.proposals.len().max(1) as f64;
        let agrees = view.proposals.iter().filter(|cell| cell.proposal.best == held(cell)).count() as f64 / count;
        self.agreement = if agrees > self.agreement.0 { (agrees, 0) } else { (self.agreement.0, self.agreement.1 + 1) };
        let mut changed: Vec<_> = view.proposals.iter().filter(|cell| cell.proposal.token != held(cell)).collect();
        changed.sort_by(|a, b| b.proposal.probability.total_cmp(&a.proposal.probability));
        changed.truncate(self.config.tokens_per_step);
        let over = self.corrections == self.config.correction_steps || self.agreement.1 > self.config.patience;
        self.corrections += 1;
        if over || changed.is_empty() {
            return view.proposals.iter().map(|cell| (cell.position, Action::Commit(held(cell)))).collect();
        }
        changed.into_iter().map(|cell| (cell.position, Action::Draft(cell.proposal.token))).collect()
    }

    fn doubts(&self) -> bool {
        self.correcting
    }

    fn mixtures(&self, view: &StepView<'_>) -> Option<Vec<Mixture>> {
        Some(posteriors(view))
    }
}
