//! Dream's four orders: how many masks are written follows the time grid, which ones follows a rank.
//!
//! Dream, Ye et al. 2025 (arXiv 2508.15487); reference: `generation_utils.py` of the release. The times go from 1 to `eps` in
//! equal steps; of m masks int(m (1 - s / t)) are written, in the last step all. Tokens are drawn after temperature, top-p and
//! top-k, and the confidence is that of the filtered distribution.
//!
//! - `origin`: each mask for itself, with probability 1 - s / t.
//! - `maskgit_plus`, `topk_margin`, `entropy`: the first by probability, margin, entropy; with `alg_temp` above 0 a draw
//!   without replacement from the softmax of confidence / alg_temp.
//! - `confidence_threshold` (Fast-dLLM's edition, NVlabs/Fast-dLLM `dream/model/generation_utils.py`): of the m / T cells due,
//!   and those held back before, the surest and all above `threshold`.
//!
//! Deviations: a step writes at least one cell (the reference's count rounds down to empty steps, each a forward pass; it
//! does so under `compat = "reference"`, in float32); equal confidences are ordered from the left; every row of a batch
//! counts its own masks.

use serde::{Deserialize, Serialize};

use super::commit::commit;
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, CellProposal, Sampler, StepTimes, StepView};
use crate::contract::{Compat, Statistics};
use crate::registry::Kind;
use crate::rng::{Purpose, StepRng};
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "dream",
    aliases: &[],
    presets: &[
        ("dream_origin", &[("algorithm", "\"origin\"")]),
        ("maskgit", &[("algorithm", "\"maskgit_plus\"")]),
        ("maskgit_plus", &[("algorithm", "\"maskgit_plus\"")]),
        ("topk_margin", &[("algorithm", "\"topk_margin\"")]),
    ],
    summary: "writes as many cells as the time grid asks for, by probability, margin or entropy",
    paper: "Dream, Ye et al. 2025, arXiv 2508.15487",
    parameters: DreamConfig::PARAMETERS,
    build: |values| Ok(Box::new(Dream(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`Dream`].
    DreamConfig {
        steps: usize = 64 => "64", Kind::Integer { min: 1 }, "time steps T for each block";
        algorithm: DreamAlgorithm = DreamAlgorithm::Entropy => "\"entropy\"", Kind::Choice(&["origin", "maskgit_plus", "topk_margin", "entropy", "confidence_threshold"]), "which cells are written";
        alg_temp: f64 = 0.0 => "0.0", Kind::Number { min: 0.0, max: f64::INFINITY }, "the temperature of the choice of cells; 0 takes the first";
        eps: f64 = 1e-3 => "0.001", Kind::Number { min: 0.0, max: 0.5 }, "where the time grid ends";
        threshold: f64 = 0.9 => "0.9", Kind::Number { min: 0.0, max: 1.0 }, "confidence_threshold: the probability from which a cell that is due is written";
    }
}

/// Which cells are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DreamAlgorithm {
    /// Each mask for itself.
    Origin,
    /// By probability.
    MaskgitPlus,
    /// By margin.
    TopkMargin,
    /// By entropy.
    #[default]
    Entropy,
    /// By probability, as far as it is high enough.
    ConfidenceThreshold,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dream(pub DreamConfig);

#[derive(Clone)]
struct Run {
    config: DreamConfig,
    compat: Compat,
    total: usize,
    step: usize,
    /// Cells that were due but not sure enough.
    held_back: usize,
}

impl Sampler for Dream {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, compat: block.compat, total: block.noisy, step: 0, held_back: 0 })
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

/// The chance that a mask is written in step `step` of `steps`: 1 - s / t on the grid from 1 to `eps`; 1 in the last.
pub fn transfer_chance(step: usize, steps: usize, eps: f64, compat: Compat) -> f64 {
    if step + 1 >= steps {
        return 1.0;
    }
    let at = |step: usize| 1.0 - (1.0 - eps) * step as f64 / steps as f64;
    match compat {
        Compat::Exact => 1.0 - at(step + 1) / at(step),
        Compat::Reference => f64::from(1.0 - linspace(step + 1, steps, eps) / linspace(step, steps, eps)),
    }
}

/// `torch.linspace(1, eps, steps + 1)[step]` in float32, which goes from either end to the middle and rounds once.
fn linspace(step: usize, steps: usize, eps: f64) -> f32 {
    let end = eps as f32;
    let size = (end - 1.0) / steps as f32;
    if step < steps.div_ceil(2) { size.mul_add(step as f32, 1.0) } else { (-size).mul_add((steps - step) as f32, end) }
}

impl Run {
    /// How many of `masks` cells are due.
    fn due(&self, masks: usize) -> usize {
        let DreamConfig { steps, eps, .. } = self.config;
        let chance = transfer_chance(self.step, steps, eps, self.compat);
        match self.compat {
            Compat::Exact => ((masks as f64 * chance) as usize).max(1),
            Compat::Reference => (masks as f32 * chance as f32) as usize,
        }
    }

    /// The cells in the order of the choice: by rank, or drawn without replacement (Gumbel-top-k).
    fn order(&self, rank: Rank, view: &StepView<'_>) -> Vec<CellProposal> {
        let mut cells = rank.order(view);
        if self.config.alg_temp > 0.0 {
            let key = |cell: &CellProposal| {
                let gumbel = -(-view.rng.uniform(cell.position, Purpose::Position).ln()).ln();
                rank.score(cell, view) / self.config.alg_temp + gumbel
            };
            cells.sort_by(|a, b| key(b).total_cmp(&key(a)));
        }
        cells
    }

    /// How many of the cells, ranked by probability, `confidence_threshold` writes.
    fn due_and_sure(&mut self, ranked: &[CellProposal]) -> usize {
        // After the last planned step only what was held back is due.
        let planned = if self.step < self.config.steps { (self.total / self.config.steps.max(1)).max(1) } else { 0 };
        let due = (planned + self.held_back).clamp(1, ranked.len().max(1));
        let sure = |(at, cell): &(usize, &CellProposal)| *at == 0 || cell.proposal.probability >= self.config.threshold;
        let count = ranked.iter().take(due).enumerate().take_while(sure).count();
        self.held_back = due - count;
        count
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        let DreamConfig { steps, eps, .. } = self.config;
        let at = |step: usize| 1.0 - (1.0 - eps) * step.min(steps) as f64 / steps.max(1) as f64;
        StepTimes::new(at(self.step), at(self.step + 1))
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let rank = match self.config.algorithm {
            DreamAlgorithm::Origin => Rank::Position,
            DreamAlgorithm::MaskgitPlus | DreamAlgorithm::ConfidenceThreshold => Rank::Probability,
            DreamAlgorithm::TopkMargin => Rank::Margin,
            DreamAlgorithm::Entropy => Rank::Entropy,
        };
        let mut cells = match self.config.algorithm {
            DreamAlgorithm::Origin | DreamAlgorithm::ConfidenceThreshold => rank.order(view),
            _ => self.order(rank, view),
        };
        match self.config.algorithm {
            DreamAlgorithm::Origin => {
                let DreamConfig { steps, eps, .. } = self.config;
                let chance = transfer_chance(self.step, steps, eps, self.compat);
                cells.retain(|cell| view.rng.uniform(cell.position, Purpose::Commit) < chance);
            }
            DreamAlgorithm::ConfidenceThreshold => {
                let count = self.due_and_sure(&cells);
                cells.truncate(count);
            }
            _ => cells.truncate(self.due(view.proposals.len())),
        }
        self.step += 1;
        commit(&cells)
    }
}
