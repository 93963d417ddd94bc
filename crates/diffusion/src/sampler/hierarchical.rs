//! Hierarchical decoding: the surest cell of every run of masks is written, so that the canvas is split again and again.
//!
//! dInfer, Ma et al. 2025 (arXiv 2510.08666), section 3.2; reference: inclusionAI/dInfer `parallel_strategy.py`. A step
//! writes the best cell of each run of masks if it is above `low_threshold`, every cell above `threshold`, and (rule `runs`,
//! `HierarchyDecoder`) the best cell of all. Rule `fast` (`get_transfer_index_hierarchy_fast_v2`) writes that one in place of
//! those of the runs where it lies below `low_threshold`. Rule `remask` (`get_transfer_index_hierarchy_remask`) also takes back written cells whose
//! prediction is below `remask_threshold`, and writes at least one cell more than it takes back.
//!
//! Deviations: the mask is never predicted, only cells that may be written count as a run's best; `remask` takes back a cell
//! at most once (the reference may go on for ever).

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, CellProposal, Reads, Sampler, StepTimes, StepView};
use crate::canvas::Cell;
use crate::noise::Noise;
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "hierarchical",
    aliases: &["hierarchy", "dinfer"],
    presets: &[],
    summary: "writes the surest cell of every run of masks, and all that are sure enough",
    paper: "dInfer, Ma et al. 2025, arXiv 2510.08666",
    parameters: HierarchicalConfig::PARAMETERS,
    build: |values| Ok(Box::new(Hierarchical(serde_json::from_value(values)?))),
};

settings! {
    /// The settings of [`Hierarchical`].
    HierarchicalConfig {
        rule: HierarchyRule = HierarchyRule::Runs => "\"runs\"", Kind::Choice(&["runs", "fast", "remask"]), "what happens where no cell is sure, and whether written cells are taken back";
        threshold: f64 = 0.9 => "0.9", Kind::Number { min: 0.0, max: 1.0 }, "the probability above which a cell is written";
        low_threshold: f64 = 0.4 => "0.4", Kind::Number { min: 0.0, max: 1.0 }, "the probability above which the best cell of a run is written";
        remask_threshold: f64 = 0.4 => "0.4", Kind::Number { min: 0.0, max: 1.0 }, "remask: the probability below which a written cell is taken back";
    }
}

/// What happens where no cell is sure, and whether written cells are taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HierarchyRule {
    /// The best cell of all is always written.
    #[default]
    Runs,
    /// Only the best cell of all is written where it is unsure.
    Fast,
    /// Written cells may be taken back.
    Remask,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hierarchical(pub HierarchicalConfig);

#[derive(Clone)]
struct Run {
    config: HierarchicalConfig,
    total: usize,
    /// Cells that were taken back already.
    taken: Vec<usize>,
}

impl Sampler for Hierarchical {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, block: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, total: block.noisy, taken: Vec::new() })
    }

    fn reads(&self, _: &dyn Noise) -> Reads {
        if self.0.rule == HierarchyRule::Remask { Reads::Open } else { Reads::Noisy }
    }
}

impl Run {
    /// Which of the candidates (cells from left to right, all of them open for writing) are written.
    fn choose(&self, candidates: &[CellProposal]) -> Vec<bool> {
        let HierarchicalConfig { rule, threshold, low_threshold, .. } = self.config;
        let p = |at: usize| candidates[at].proposal.probability;
        let best = |cells: &[usize]| cells.iter().copied().reduce(|best, at| if p(at) > p(best) { at } else { best });
        let usable: Vec<_> = (0..candidates.len()).filter(|at| candidates[*at].eligible).collect();
        let Some(overall) = best(&usable) else { return vec![false; candidates.len()] };
        let mut chosen = vec![false; candidates.len()];
        chosen[overall] = rule == HierarchyRule::Runs;
        let unsure = rule == HierarchyRule::Fast && p(overall) < low_threshold;
        chosen[overall] |= unsure;
        // Runs of candidates are those without a gap between them on the canvas.
        let joined = |a: &usize, b: &usize| candidates[*a].position + 1 == candidates[*b].position;
        let all: Vec<_> = (0..candidates.len()).filter(|_| !unsure).collect();
        for run in all.chunk_by(joined) {
            let run: Vec<_> = run.iter().copied().filter(|at| candidates[*at].eligible).collect();
            if let Some(at) = best(&run).filter(|at| p(*at) > low_threshold) {
                chosen[at] = true;
            }
        }
        for at in usable {
            chosen[at] |= p(at) > threshold;
        }
        // At the very threshold neither of the two clauses holds.
        chosen[overall] |= !chosen.contains(&true);
        chosen
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, noisy: usize, _: &StepRng) -> StepTimes {
        StepTimes::by_count(noisy, self.total)
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        if self.config.rule != HierarchyRule::Remask {
            let chosen = self.choose(view.proposals).into_iter().zip(view.proposals).filter(|(chosen, _)| *chosen);
            return chosen.map(|(_, cell)| (cell.position, Action::Commit(cell.proposal.token))).collect();
        }
        let noisy = |cell: &CellProposal| view.canvas.cells()[cell.position] == Cell::Noisy;
        let doubted = |cell: &CellProposal| {
            !noisy(cell)
                && cell.proposal.probability < self.config.remask_threshold
                && !self.taken.contains(&cell.position)
        };
        let candidates: Vec<_> = view.proposals.iter().copied().filter(|cell| noisy(cell) || doubted(cell)).collect();
        let mut chosen = self.choose(&candidates);
        // At least one cell more is written than is taken back.
        let back = candidates.iter().filter(|cell| doubted(cell)).count();
        let mut rest: Vec<_> = (0..candidates.len()).filter(|at| !chosen[*at] && candidates[*at].eligible).collect();
        rest.sort_by(|a, b| candidates[*b].proposal.probability.total_cmp(&candidates[*a].proposal.probability));
        let missing = (back + 1).saturating_sub(chosen.iter().filter(|chosen| **chosen).count());
        rest.truncate(missing);
        rest.into_iter().for_each(|at| chosen[at] = true);
        let mut actions: Vec<_> = Vec::new();
        for (cell, chosen) in candidates.iter().zip(chosen) {
            match (chosen, noisy(cell)) {
                (true, _) => actions.push((cell.position, Action::Draft(cell.proposal.token))),
                (false, false) => actions.push((cell.position, Action::Renoise)),
                (false, true) => {}
            }
        }
        self.taken.extend(actions.iter().filter(|(_, action)| *action == Action::Renoise).map(|(at, _)| *at));
        // The block is done when every cell is written after this step.
        let left = candidates
            .iter()
            .filter(|cell| !actions.iter().any(|(at, action)| *at == cell.position && *action != Action::Renoise))
            .count();
        if left == 0 {
            let text = view.proposals.iter().map(|cell| {
                let new = actions.iter().find(|(at, _)| *at == cell.position);
                let token = new.map_or(view.canvas.tokens()[cell.position], |_| cell.proposal.token);
                (cell.position, Action::Commit(token))
            });
            return text.collect();
        }
        actions
    }
}
