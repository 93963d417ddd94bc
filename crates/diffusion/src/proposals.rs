//! What the sampler is shown at a step: a proposal for each cell that it reads, drawn freely or by a constraint.

use crate::canvas::Cell;
use crate::contract::LogitTransform;
use crate::error::{Error, Result};
use crate::generate::EndRule;
use crate::prediction::Proposal;
use crate::rng::{Purpose, StepRng};
use crate::run::{Run, broken};
use crate::sampler::{CellProposal, Reads};

impl Run<'_> {
    /// Reduces the prediction of the open canvas to the proposals of a step.
    pub(crate) fn proposals(&mut self, rng: &StepRng) -> Result<Vec<CellProposal>> {
        let Some(open) = &self.open else { return Ok(Vec::new()) };
        let Some(prediction) = &open.prediction else { return Ok(Vec::new()) };
        let (canvas, end) = (&open.canvas, &self.parts.denoiser.info().end);
        let reads = self.parts.sampler.reads(self.parts.noise);
        let wanted = |cell: Cell| if reads == Reads::Noisy { cell == Cell::Noisy } else { cell.is_open() };
        let cells: Vec<_> = open.blocks[open.block].clone().filter(|at| wanted(canvas.cells()[*at])).collect();

        let proposals = match &mut self.constraint {
            Some(constraint) => {
                let keys: Vec<_> = (0..canvas.len()).map(|at| rng.bits(at, Purpose::Token)).collect();
                let language = self.parts.constraint.ok_or_else(|| broken("a constraint run without constraint"))?;
                let stats = prediction.class_stats(language.class_of(), language.classes(), &keys, &self.bans.plain)?;
                let text = constraint.draw(canvas, &stats, rng)?;
                if text.len() != canvas.len() {
                    let message = format!("a constraint drew {} tokens for {} cells", text.len(), canvas.len());
                    return Err(broken(&message));
                }
                cells.iter().map(|at| text[*at]).collect()
            }
            None => {
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
                let held = |at: &usize| (*at, (reads == Reads::Open).then(|| canvas.tokens()[*at]));
                let cells: Vec<_> = cells.iter().map(held).collect();
                self.bans.propose(prediction.as_ref(), &cells, self.tokens.len(), rng)?
            }
        };
        let leftmost = canvas.leftmost_noisy();
        let eligible = |at: usize, proposal: &Proposal| {
            self.config.end_rule == EndRule::Free
                || self.constraint.is_some()
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
        cells.into_iter().zip(proposals).map(cell).collect()
    }
}
