//! Factor rule: the more cells are written at once, the surer each of them must be.
//!
//! Fast-dLLM, Wu et al. 2025 (arXiv 2505.22618), section 3.3; reference: NVlabs/Fast-dLLM `llada/generate.py`
//! (`get_transfer_index_dynamic`), also in dInfer. Of the cells sorted by probability the first n are written, n the largest
//! with p_n >= 1 - factor / (n + 1).
//!
//! Deviations: when the first cell that fails is the last one, the reference writes it all the same (kept under
//! `compat = "reference"`); the mask is never predicted.

use super::commit::{commit, factor};
use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Sampler, StepTimes, StepView};
use crate::contract::Compat;
use crate::registry::Kind;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "factor",
    aliases: &[],
    presets: &[],
    summary: "writes the more cells, the surer all of them are together",
    paper: "Fast-dLLM, Wu et al. 2025, arXiv 2505.22618",
    parameters: FactorConfig::PARAMETERS,
    build: |values| Ok(Box::new(Factor(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`Factor`].
    FactorConfig {
        factor: f64 = 1.0 => "1.0", Kind::Number { min: 0.0, max: f64::INFINITY }, "how much doubt n cells together may have: 1 - p of the n-th times n + 1";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Factor(pub FactorConfig);

#[derive(Clone)]
struct Run {
    factor: f64,
    compat: Compat,
    total: usize,
}

impl Sampler for Factor {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { factor: self.0.factor, compat: block.compat, total: block.noisy })
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &crate::rng::StepRng) -> StepTimes {
        StepTimes::by_count(noisy, self.total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let ranked = Rank::Probability.order(view);
        let sure = factor(&ranked, self.factor, self.compat);
        commit(&ranked[..sure.min(ranked.len())])
    }
}
