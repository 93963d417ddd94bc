//! Entropy bound: every cell is drawn anew at every step; the draws with little entropy are kept, the others become fresh
//! noise, and the text is the argmax of the last step.
//!
//! DiffusionGemma; reference: Hugging Face transformers 5.23 `generation_diffusion_gemma` (`EntropyBoundSamplerConfig`). Step
//! n of S works at temperature t_min + (t_max - t_min) n / S, counted down. Sorted by entropy, a draw is kept while the
//! entropies before it add up to at most the bound, so that their joint error is bounded (EB-Sampler, Ben-Hamu et al. 2025).
//! Nothing is frozen: kept draws only condition the next step. It stops early when the argmax canvas has stood still for
//! `stability` steps and the mean entropy lies below `confidence`. The entropies are in nats, at the temperature of the step.
//!
//! It wants answers that weigh the token held (`DenoiserInfo::weighs_held`), as training by plain cross-entropy gives them: a
//! kept draw is only kept in mind by a model that believes what it sees. Models trained by the bound of uniform noise leave that
//! to the posterior, and are better served by `ancestral` or `gidd`.
//!
//! Deviations: cells that are given are clamped at every step (the reference has no such cells); a canvas may have blocks,
//! each with steps of its own; the temperature of the request multiplies that of the schedule.

use super::commit::within_entropy;
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, CellProposal, Reads, Sampler, StepTimes, StepView};
use crate::canvas::Token;
use crate::contract::Statistics;
use crate::noise::Noise;
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "entropy_bound",
    aliases: &["diffusion_gemma"],
    presets: &[],
    summary: "keeps the draws whose entropies add up to little, renews the noise of the others",
    paper: "DiffusionGemma, Google 2026; EB-Sampler, Ben-Hamu et al. 2025, arXiv 2505.24857",
    parameters: EntropyBoundConfig::PARAMETERS,
    build: |values| Ok(Box::new(EntropyBound(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`EntropyBound`].
    EntropyBoundConfig {
        steps: usize = 48 => "48", Kind::Integer { min: 1 }, "the most steps for each block";
        entropy_bound: f64 = 0.1 => "0.1", Kind::Number { min: 0.0, max: f64::INFINITY }, "what the entropies before a kept draw may add up to, in nats";
        t_min: f64 = 0.4 => "0.4", Kind::Number { min: 0.0, max: f64::INFINITY }, "the temperature that the schedule goes down to";
        t_max: f64 = 0.8 => "0.8", Kind::Number { min: 0.0, max: f64::INFINITY }, "the temperature of the first step";
        stability: usize = 1 => "1", Kind::Integer { min: 0 }, "steps that the argmax canvas must stand still before an early stop";
        confidence: f64 = 0.005 => "0.005", Kind::Number { min: 0.0, max: f64::INFINITY }, "the mean entropy below which a still canvas stops early, in nats; 0 never stops early";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EntropyBound(pub EntropyBoundConfig);

#[derive(Clone)]
struct Run {
    config: EntropyBoundConfig,
    step: usize,
    /// The argmax of the last step, and how many steps before it had the same.
    last: Vec<Token>,
    still: usize,
}

impl Sampler for EntropyBound {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, step: 0, last: Vec::new(), still: 0 })
    }

    fn reads(&self, _: &dyn Noise) -> Reads {
        Reads::Open
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl Run {
    /// Whether the argmax canvas has stood still long enough and the model is sure of it.
    fn stops(&mut self, proposals: &[CellProposal]) -> bool {
        let best: Vec<_> = proposals.iter().map(|cell| cell.proposal.best).collect();
        self.still = if best == self.last { self.still + 1 } else { 0 };
        self.last = best;
        let entropy: f64 = proposals.iter().map(|cell| cell.proposal.entropy).sum();
        self.still >= self.config.stability && entropy / (proposals.len().max(1) as f64) < self.config.confidence
    }
}

impl BlockSampler for Run {
    /// Draws are those of the plain answers.
    fn doubts(&self) -> bool {
        true
    }

    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        let EntropyBoundConfig { steps, t_min, t_max, .. } = self.config;
        let left = steps.saturating_sub(self.step).max(1) as f64 / steps.max(1) as f64;
        let times = StepTimes::new(left, left - 1.0 / steps.max(1) as f64);
        StepTimes { heat: t_min + (t_max - t_min) * left, ..times }
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        self.step += 1;
        if self.stops(view.proposals) || self.step >= self.config.steps {
            return view.proposals.iter().map(|cell| (cell.position, Action::Commit(cell.proposal.best))).collect();
        }
        // An end token anywhere is a draft like any other: what counts is the argmax at the end.
        let free: Vec<_> = view.proposals.iter().map(|cell| CellProposal { eligible: true, ..*cell }).collect();
        let ranked = Rank::Entropy.order(&StepView { proposals: &free, ..view.clone() });
        let kept = within_entropy(&ranked, self.config.entropy_bound).min(ranked.len());
        let draft = |cell: &CellProposal| (cell.position, Action::Draft(cell.proposal.token));
        let renew = |cell: &CellProposal| (cell.position, Action::Renoise);
        ranked[..kept].iter().map(draft).chain(ranked[kept..].iter().map(renew)).collect()
    }
}
