//! Token editing: sure masks are written, and written tokens that the model would now replace are replaced in the same step.
//!
//! LLaDA2.1, inclusionAI 2026 (`JointThreshold`); reference: inclusionAI/LLaDA2.X `generate`. Mask to token: every cell with
//! probability above `threshold`, else the surest. Token to token: a written cell whose draw differs from what it holds and
//! has a probability above `edit_threshold`. When no mask is left, up to `post_edit_steps` more rounds of edits follow; the
//! block ends when a round changes nothing.
//!
//! Deviations: `edit_threshold = 1` turns editing off (in some engines 0 does, in others 0 edits always: it does here); the
//! rounds after the last mask are bounded (the first release has no bound); the mask is never predicted.

use super::rank::Rank;
use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Reads, Sampler, StepTimes, StepView};
use crate::canvas::Cell;
use crate::contract::Statistics;
use crate::noise::Noise;
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "token_editing",
    aliases: &["joint_threshold"],
    presets: &[],
    summary: "writes what is sure enough and edits what the model would now replace",
    paper: "LLaDA2.1, inclusionAI 2026",
    parameters: TokenEditingConfig::PARAMETERS,
    build: |values| Ok(Box::new(TokenEditing(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`TokenEditing`].
    TokenEditingConfig {
        threshold: f64 = 0.7 => "0.7", Kind::Number { min: 0.0, max: 1.0 }, "the probability above which a mask is written";
        edit_threshold: f64 = 0.5 => "0.5", Kind::Number { min: 0.0, max: 1.0 }, "the probability above which a written token is replaced; 1 never edits";
        post_edit_steps: usize = 16 => "16", Kind::Integer { min: 0 }, "the most rounds of edits after the last mask of a block";
    }
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenEditing(pub TokenEditingConfig);

#[derive(Clone)]
struct Run {
    config: TokenEditingConfig,
    total: usize,
    rounds: usize,
}

impl Sampler for TokenEditing {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, total: block.noisy, rounds: 0 })
    }

    fn reads(&self, _: &dyn Noise) -> Reads {
        Reads::Open
    }

    /// The reference takes its confidence after temperature, top-k and top-p.
    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl BlockSampler for Run {
    fn doubts(&self) -> bool {
        true
    }

    fn next_step(&mut self, noisy: usize, _: &StepRng) -> StepTimes {
        StepTimes::by_count(noisy, self.total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        let TokenEditingConfig { threshold, edit_threshold, post_edit_steps } = self.config;
        let (states, tokens) = (view.canvas.cells(), view.canvas.tokens());
        let masked = view.proposals.iter().filter(|cell| states[cell.position] == Cell::Noisy).count();
        let ranked = Rank::Probability.order(view);
        let noisy: Vec<_> = ranked.iter().filter(|cell| states[cell.position] == Cell::Noisy).collect();
        let sure = noisy.iter().take_while(|cell| cell.proposal.probability > threshold).count();
        let written = &noisy[..sure.max(1).min(noisy.len())];
        let mut edits: Vec<_> = ranked
            .iter()
            .filter(|cell| states[cell.position] == Cell::Draft && cell.proposal.token != tokens[cell.position])
            .filter(|cell| cell.proposal.probability > edit_threshold)
            .collect();
        if masked == 0 {
            if self.rounds == post_edit_steps {
                edits.clear();
            }
            self.rounds += 1;
        }
        let last = written.len() == masked && (edits.is_empty() || masked == 0 && self.rounds > post_edit_steps);
        let over = last && (masked == 0 || post_edit_steps == 0 || edit_threshold >= 1.0);
        let mut actions: Vec<_> =
            written.iter().chain(&edits).map(|cell| (cell.position, cell.proposal.token)).collect();
        if over {
            let kept = view.proposals.iter().filter(|cell| states[cell.position] == Cell::Draft);
            actions.extend(kept.map(|cell| (cell.position, tokens[cell.position])));
        }
        let act = |token| if over { Action::Commit(token) } else { Action::Draft(token) };
        actions.into_iter().map(|(position, token)| (position, act(token))).collect()
    }
}
