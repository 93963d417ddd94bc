//! A step under a constraint: a whole valid text is drawn jointly, and what the sampler commits is a part of such a text.
//!
//! Samplers under masked noise commit draws as they come: the text drawn is the witness that the rest can be completed. Where
//! drafts may change, the draw is that of the clean text given the canvas, p(x) q(canvas | x): a sampler takes it for the clean
//! text that is known, and its own steps lead the canvas there. If it then commits something else than what was drawn (drafts
//! of earlier steps, most probable tokens), a second draw that leans to its choice makes a valid text of it.

use crate::canvas::{Cell, Token};
use crate::contract::{ConstraintView, Lean};
use crate::error::{Error, Result};
use crate::prediction::Proposal;
use crate::proposals::Step;
use crate::rng::{Purpose, StepRng};
use crate::run::{Run, broken};
use crate::sampler::{Action, CellProposal, Reads};
use crate::vocabulary::ClassStat;

/// What a sampler did, made a part of one valid text.
pub(crate) struct Settled {
    pub(crate) actions: Vec<(usize, Action)>,
    /// What the actions come from.
    pub(crate) proposals: Vec<CellProposal>,
}

/// How much a token that stands is favoured, in nats: a constraint changes it where it must.
const STANDS: f64 = 20.0;
/// The most that a token may be favoured by.
const MOST: f64 = 200.0;

impl Run<'_> {
    /// The joint draw of a step: a proposal for each of the L cells, and the class statistics that it comes from.
    pub(crate) fn constrained(
        &mut self,
        temperature: f64,
        rng: &StepRng,
    ) -> Result<(Vec<Proposal>, Vec<Vec<ClassStat>>)> {
        let stats = self.class_stats(rng, true)?;
        let leans = self.leans(&stats, temperature)?;
        let drawn = self.draw(&stats, &leans, Purpose::Constraint, rng);
        match drawn {
            // The first cell must go on with the prompt's last word.
            Err(Error::Infeasible { .. }) if self.bans.has_first() && self.tokens.is_empty() => {
                let stats = self.class_stats(rng, false)?;
                Ok((self.draw(&stats, &leans, Purpose::Constraint, rng)?, stats))
            }
            drawn => Ok((drawn?, stats)),
        }
    }

    /// Fails where a canvas that was given as a whole is no part of a valid text: no step has looked at it.
    pub(crate) fn check_given(&mut self, rng: &StepRng) -> Result<()> {
        let Some(cells) = self.open.as_ref().filter(|open| open.steps == 0).map(|open| open.canvas.len()) else {
            return Ok(());
        };
        if self.constraint.is_some() {
            self.draw(&vec![Vec::new(); cells], &vec![None; cells], Purpose::Constraint, rng)?;
        }
        Ok(())
    }

    /// The sampler's actions with commitments that belong to one valid text.
    pub(crate) fn settled(&mut self, mut actions: Vec<(usize, Action)>, step: Step, rng: &StepRng) -> Result<Settled> {
        let Step { mut proposals, stats, .. } = step;
        if self.constraint.is_none() {
            return Ok(Settled { actions, proposals });
        }
        let drawn = |at: usize| proposals.iter().find(|cell| cell.position == at).map(|cell| cell.proposal.token);
        let commits = actions.iter().filter_map(|(at, action)| match action {
            Action::Commit(token) => Some((*at, *token)),
            Action::Draft(_) | Action::Renoise => None,
        });
        let commits: Vec<_> = commits.collect();
        if commits.iter().all(|(at, token)| drawn(*at) == Some(*token)) {
            return Ok(Settled { actions, proposals });
        }
        let mut leans = vec![None; stats.len()];
        for (at, token) in &commits {
            let lean = Lean { token: *token, log_p: f64::NEG_INFINITY, log_extra: STANDS };
            *leans.get_mut(*at).ok_or_else(|| broken(&format!("a sampler wrote cell {at} of {}", stats.len())))? =
                Some(lean);
        }
        let text = self.draw(&stats, &leans, Purpose::Settle, rng)?;
        for cell in &mut proposals {
            cell.proposal = text[cell.position];
        }
        for (at, action) in &mut actions {
            if let Action::Commit(token) = action {
                *token = text[*at].token;
            }
        }
        Ok(Settled { actions, proposals })
    }

    /// The cells that are given behind the open canvas.
    pub(crate) fn given_behind(&self) -> Vec<(usize, Token)> {
        let behind = self.tokens.len() + self.open.as_ref().map_or(0, |open| open.canvas.len());
        self.sequence.pins.iter().filter_map(|(at, token)| Some((at.checked_sub(behind)?, *token))).collect()
    }

    fn draw(
        &mut self,
        stats: &[Vec<ClassStat>],
        leans: &[Option<Lean>],
        purpose: Purpose,
        rng: &StepRng,
    ) -> Result<Vec<Proposal>> {
        let given = &self.given_behind();
        let (Some(open), Some(constraint)) = (&self.open, &mut self.constraint) else {
            return Err(broken("a joint draw without a constraint"));
        };
        let (canvas, greedy) = (&open.canvas, self.bans.plain.temperature == 0.0);
        let (banned, ends_from) = (&self.bans.plain.banned, self.bans.ends_from(self.tokens.len()));
        let view = ConstraintView { canvas, given, stats, leans, banned, ends_from, greedy, rng, purpose };
        let text = constraint.draw(&view)?;
        if text.len() != canvas.len() {
            return Err(broken(&format!("a constraint drew {} tokens for {} cells", text.len(), canvas.len())));
        }
        Ok(text)
    }

    /// The class statistics of the L rows; none for cells that are given or written for good.
    fn class_stats(&self, rng: &StepRng, first: bool) -> Result<Vec<Vec<ClassStat>>> {
        let (Some(open), Some(language)) = (&self.open, self.parts.constraint) else { return Ok(Vec::new()) };
        let Some(prediction) = &open.prediction else { return Ok(Vec::new()) };
        let cells = open.canvas.cells();
        let rows: Vec<_> =
            (0..cells.len()).filter(|at| cells[*at].is_open()).map(|at| (at, rng.bits(at, Purpose::Token))).collect();
        let classes = (language.class_of(), language.classes());
        let found = self.bans.class_stats(prediction.as_ref(), classes, &rows, self.tokens.len(), first)?;
        let mut stats = vec![Vec::new(); cells.len()];
        for ((at, _), found) in rows.into_iter().zip(found) {
            stats[at] = found;
        }
        Ok(stats)
    }

    /// What the tokens on the canvas say for themselves.
    fn leans(&self, stats: &[Vec<ClassStat>], temperature: f64) -> Result<Vec<Option<Lean>>> {
        let mut leans = vec![None; stats.len()];
        let (noise, info) = (self.parts.noise, self.parts.denoiser.info());
        let Some(open) = &self.open else { return Ok(leans) };
        let (Some(prediction), Some(sampler)) = (&open.prediction, &open.sampler) else { return Ok(leans) };
        if self.parts.sampler.reads(noise) == Reads::Noisy || sampler.doubts() {
            return Ok(leans);
        }
        let (cells, tokens) = (open.canvas.cells(), open.canvas.tokens());
        let tells = |at: &usize| cells[*at].is_open() && noise.mask() != Some(tokens[*at]);
        let block: Vec<_> = open.blocks[open.block].clone().filter(tells).collect();
        // ln p at temperature 1, of the token held and of the row's best: the tempered one of the best is known.
        let best = |at: usize| stats[at].iter().max_by(|a, b| a.log_best.total_cmp(&b.log_best));
        let targets = block.iter().flat_map(|at| [(*at, tokens[*at]), (*at, best(*at).map_or(0, |best| best.best))]);
        let targets: Vec<(usize, Token)> = targets.collect();
        let plain = prediction.log_probabilities(&targets, &self.bans.plain)?;
        let heat = if temperature > 0.0 { temperature } else { 1.0 };
        for (at, plain) in block.into_iter().zip(plain.chunks_exact(2)) {
            let log_p = best(at).map_or(f64::NEG_INFINITY, |best| best.log_best + (plain[0] - plain[1]) / heat);
            let log_extra = match noise.alphabet() {
                Some(_) if info.weighs_held => f64::NEG_INFINITY,
                Some(_) => log_p + noise.held_log_ratio(tokens[at], open.times.t).exp_m1().ln(),
                None if cells[at] == Cell::Draft => STANDS,
                None => f64::NEG_INFINITY,
            };
            leans[at] = Some(Lean { token: tokens[at], log_p, log_extra: log_extra.min(MOST) });
        }
        Ok(leans)
    }
}
