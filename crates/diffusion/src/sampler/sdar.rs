//! SDAR's four strategies: a quota of cells per step, by confidence, entropy or position, or more where the model is sure.
//!
//! SDAR, Cheng et al. 2025 (arXiv 2510.06303); reference: JetAstra/SDAR `generate.py` and Labman42/JetEngine. Tokens are drawn
//! at the temperature after top-k and top-p, and the confidence is the probability that the draw had there.
//!
//! - `static`: each step writes its quota of the surest cells.
//! - `dynamic`: all cells above `threshold`, if they are at least the quota; else the quota.
//! - `sequential`: the leftmost cells, as many as the quota.
//! - `entropy_bounded`: the cells of least entropy, while the entropies add up to less than `entropy_bound` nats.
//!
//! Deviations: at temperature 0 the reference divides by zero, this takes the argmax; a drawn mask cannot happen;
//! `entropy_bounded` follows JetEngine (in the reference it raises an error); steps without quota are skipped.

use serde::{Deserialize, Serialize};

use super::commit::{commit, transfer_quota};
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView};
use crate::contract::Statistics;
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "sdar",
    aliases: &["dynamic", "low_confidence_dynamic"],
    presets: &[("static", &[("strategy", "\"static\"")]), ("low_confidence_static", &[("strategy", "\"static\"")])],
    summary: "writes a quota of the surest cells per step, or all that are sure enough",
    paper: "SDAR, Cheng et al. 2025, arXiv 2510.06303",
    parameters: SdarConfig::PARAMETERS,
    build: |values| Ok(Box::new(Sdar(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`Sdar`].
    SdarConfig {
        strategy: SdarStrategy = SdarStrategy::Dynamic => "\"dynamic\"", Kind::Choice(&["dynamic", "static", "sequential", "entropy_bounded"]), "which cells a step writes";
        steps: usize = 4 => "4", Kind::Integer { min: 1 }, "steps for each block";
        threshold: f64 = 0.9 => "0.9", Kind::Number { min: 0.0, max: 1.0 }, "dynamic: the probability above which a cell is written";
        entropy_bound: f64 = 0.4 => "0.4", Kind::Number { min: 0.0, max: f64::INFINITY }, "entropy_bounded: what the entropies of the written cells stay below together, in nats";
    }
}

/// Which cells a step writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SdarStrategy {
    /// All that are sure enough, at least the quota.
    #[default]
    Dynamic,
    /// The quota of the surest.
    Static,
    /// The quota of the leftmost.
    Sequential,
    /// Those of least entropy.
    EntropyBounded,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sdar(pub SdarConfig);

#[derive(Clone)]
struct Run {
    config: SdarConfig,
    quota: Vec<usize>,
    total: usize,
    step: usize,
}

impl Sampler for Sdar {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        let quota = transfer_quota(block.length, self.0.steps.max(1)).into_iter().filter(|quota| *quota > 0).collect();
        Box::new(Run { config: self.0, quota, total: block.noisy, step: 0 })
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &StepRng) -> StepTimes {
        StepTimes::by_count(noisy, self.total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let SdarConfig { strategy, threshold, entropy_bound, .. } = self.config;
        let quota = self.quota.get(self.step).or(self.quota.last()).copied().unwrap_or(1);
        self.step += 1;
        let rank = match strategy {
            SdarStrategy::Dynamic | SdarStrategy::Static => Rank::Probability,
            SdarStrategy::Sequential => Rank::Position,
            SdarStrategy::EntropyBounded => Rank::Entropy,
        };
        let ranked = rank.order(view);
        let count = match strategy {
            SdarStrategy::Dynamic => {
                ranked.iter().take_while(|cell| cell.proposal.probability > threshold).count().max(quota)
            }
            SdarStrategy::Static | SdarStrategy::Sequential => quota,
            SdarStrategy::EntropyBounded => {
                let mut sum = 0.0;
                let below = ranked.iter().take_while(|cell| {
                    sum += cell.proposal.entropy;
                    sum < entropy_bound
                });
                below.count().max(1)
            }
        };
        commit(&ranked[..count.min(ranked.len())])
    }
}
