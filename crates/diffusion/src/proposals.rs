//! What the sampler is shown at a step: a proposal for each cell that it reads, drawn freely or by a constraint.

use crate::canvas::Cell;
use crate::contract::LogitTransform;
use crate::error::{Error, Result};
use crate::generate::EndRule;
use crate::prediction::{Proposal, RowRequest};
use crate::rng::StepRng;
use crate::run::Run;
use crate::sampler::{CellProposal, Reads};
use crate::vocabulary::ClassStat;

/// The proposals of a step.
pub(crate) struct Step {
    /// One for each cell that the sampler reads.
    pub(crate) proposals: Vec<CellProposal>,
    /// Under a constraint: the class statistics of the L rows.
    pub(crate) stats: Vec<Vec<ClassStat>>,
    /// Whether the proposals are drawn from mixed posteriors.
    pub(crate) mixed: bool,
}

impl Run<'_> {
    /// Reduces the prediction of the open canvas to the proposals of a step.
    pub(crate) fn proposals(&mut self, rng: &StepRng) -> Result<Step> {
        let mixed = self.guide()?;
        let mut step = Step { proposals: Vec::new(), stats: Vec::new(), mixed };
        let Some(open) = &self.open else { return Ok(step) };
        let Some(prediction) = &open.prediction else { return Ok(step) };
        let canvas = &open.canvas;
        let reads = self.parts.sampler.reads(self.parts.noise);
        let wanted = |cell: Cell| if reads == Reads::Noisy { cell == Cell::Noisy } else { cell.is_open() };
        let cells: Vec<_> = open.blocks[open.block].clone().filter(|at| wanted(canvas.cells()[*at])).collect();

        let LogitTransform { temperature, repetition_penalty, .. } = self.config.transform;
        let mut seen = Vec::new();
        if repetition_penalty != 1.0 {
            let states = canvas.cells().iter().zip(canvas.tokens());
            let written = states.filter(|(state, _)| **state != Cell::Noisy).map(|(_, token)| token);
            seen.extend(self.sequence.prefix.iter().chain(&self.tokens).chain(written));
        }
        let temperature = temperature * open.times.heat;
        self.bans.change(|transform| {
            transform.temperature = temperature;
            transform.seen.clone_from(&seen);
        });
        let proposals = if self.constraint.is_some() {
            let (text, stats) = self.constrained(temperature, rng)?;
            step.stats = stats;
            cells.iter().map(|at| text[*at]).collect()
        } else {
            let held = |at: &usize| (*at, (reads == Reads::Open).then(|| canvas.tokens()[*at]));
            let cells: Vec<_> = cells.iter().map(held).collect();
            let ask = |requests: &[RowRequest<'_>], transform: &LogitTransform| match self.mix(open) {
                Some((without, mix)) if mixed => prediction.propose_mixed(without, &mix, requests, transform),
                _ => prediction.propose(requests, transform),
            };
            self.bans.propose(&ask, &cells, self.tokens.len(), rng)?
        };
        let Some(open) = &self.open else { return Ok(step) };
        let (leftmost, end) = (open.canvas.leftmost_noisy(), &self.parts.denoiser.info().end);
        let eligible = |at: usize, proposal: &Proposal| {
            self.config.end_rule == EndRule::Free
                || leftmost.is_none_or(|leftmost| at <= leftmost)
                || !end.contains(&proposal.token)
        };
        let cell = |(position, proposal): (usize, Proposal)| {
            if proposal.probability.is_nan() {
                let message = format!(
                    "gives no token a probability in cell {position}: its logits are not numbers, or all that it allows \
                     is banned"
                );
                return Err(Error::Denoiser { message });
            }
            Ok(CellProposal { position, proposal, eligible: eligible(position, &proposal) })
        };
        step.proposals = cells.into_iter().zip(proposals).map(cell).collect::<Result<_>>()?;
        Ok(step)
    }
}
