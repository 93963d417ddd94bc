//! A constraint at work on one text: at each step a whole valid text is drawn, and cells are proposed as its parts.
//!
//! The draw is exact for the step's prediction, whose cells are independent (`chain.rs`). What was drawn last is the witness
//! that the cells which a sampler commits can be completed. Where a prediction gives probability 0 to all that can complete them (exact
//! toy models do, networks do not), tokens that it excludes are taken for possible, but only just.

use std::sync::Arc;

use lldm_diffusion::rng::Purpose;
use lldm_diffusion::{ConstraintRun, ConstraintView, Error as DiffusionError, Proposal, Token};

use super::compiled::{Compiled, infeasible};
use super::rows::{CellRow, Floors, OpenRow, rows};
use crate::chain::{Chain, Marginals, Place};
use crate::error::Error;

/// Where the numbers of draws within a class begin: beyond those of the cells.
const WITHIN: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct Run {
    constraint: Arc<Compiled>,
    /// The state in front of the canvas.
    state: u32,
    written: usize,
    /// Tokens that may be written from the start of the canvas on.
    left: usize,
    log_z: Option<f64>,
}

impl Run {
    pub(super) fn new(constraint: Arc<Compiled>, budget: usize) -> Self {
        Self { constraint, state: 0, written: 0, left: budget, log_z: None }
    }

    fn place(&self, cells: usize) -> Place {
        let lengths = self.constraint.lengths();
        Place {
            state: self.state,
            written: self.written,
            room: self.left - cells,
            fewest: lengths.fewest,
            most: lengths.most,
        }
    }

    /// A token of each class that may be written.
    fn floors(&self, banned: &[Token]) -> Floors {
        let automaton = self.constraint.automaton();
        let mut tokens = vec![None; automaton.classes()];
        for (token, class) in (0..).zip(automaton.class_of()) {
            if tokens[usize::from(*class)].is_none() && !banned.contains(&token) {
                tokens[usize::from(*class)] = Some(token);
            }
        }
        Floors { tokens }
    }

    /// The proposals of a canvas whose cells look like this, for tokens of these classes; none stands behind the end of a text.
    fn proposals(
        &self,
        view: &ConstraintView<'_>,
        rows: &[CellRow],
        marginals: &Marginals,
        drawn: &[Option<u16>],
    ) -> Vec<Proposal> {
        let automaton = self.constraint.automaton();
        let within = |row: &CellRow| match row {
            CellRow::Held(_) => vec![0.0; automaton.classes()],
            CellRow::Open(open) => (0..automaton.classes()).map(|class| open.entropy(class)).collect(),
        };
        let within: Vec<Vec<f64>> = rows.iter().map(within).collect();
        let entropies = marginals.entropies(&within);
        let cell = |at: usize| {
            let token = view.canvas.tokens()[at];
            let Some(CellRow::Open(open)) = rows.get(at) else {
                // Given, written, or beyond the last token that is asked for.
                let end = self.constraint.end().first().copied().unwrap_or(token);
                return written(if at < rows.len() { token } else { end });
            };
            let class = drawn[at];
            let token = match class {
                Some(class) if view.greedy => open.best_token(class),
                Some(class) => open.drawn(class, view.rng.uniform(WITHIN + at, view.purpose)),
                None => self.constraint.end().first().copied().unwrap_or_else(|| open.likeliest()),
            };
            let mut proposal = Proposal { entropy: entropies[at], ..written(token) };
            self.describe(&mut proposal, open, class, &marginals.classes[at]);
            let lean = view.leans[at].filter(|lean| lean.token == view.canvas.tokens()[at]);
            let held = lean.and_then(|lean| Some((lean.token, *automaton.class_of().get(lean.token as usize)?)));
            let own = |(token, class)| marginals.classes[at][usize::from(class)] * open.within(class, token);
            proposal.held = held.map_or(0.0, own).min(1.0);
            proposal
        };
        (0..view.canvas.len()).map(cell).collect()
    }

    /// The probabilities of a cell, which the classes have with these probabilities, and the token of this class.
    fn describe(&self, proposal: &mut Proposal, open: &OpenRow, class: Option<u16>, classes: &[f64]) {
        let over = (1.0 - classes.iter().sum::<f64>()).max(0.0);
        proposal.probability = match class {
            // The sums of a pass are 1 but for its rounding.
            Some(class) => (classes[usize::from(class)] * open.within(class, proposal.token)).min(1.0),
            None => over,
        };
        // The most probable token, and the second: behind the end of a text stands an end token.
        let end = self.constraint.end().first().copied();
        let (mut best, mut second) = ((over, end.unwrap_or(proposal.token)), 0.0f64);
        for (class, p) in (0..).zip(classes).filter(|(_, p)| **p > 0.0) {
            let token = open.best_token(class);
            let own = (p * open.within(class, token)).min(1.0);
            let next = p * open.second(class);
            if own > best.0 {
                (second, best) = (best.0.max(next), (own, token));
            } else {
                second = second.max(own);
            }
        }
        (proposal.best_probability, proposal.best) = best;
        proposal.margin = (best.0 - second).max(0.0);
    }
}

/// Cells as they look without any constraint.
fn unbound(rows: &[CellRow]) -> Marginals {
    let classes = |row: &CellRow| match row {
        CellRow::Held(_) => Vec::new(),
        CellRow::Open(open) => open.sums.iter().map(|log| log.exp()).collect(),
    };
    Marginals { classes: rows.iter().map(classes).collect(), stops: Vec::new() }
}

/// A class for a cell by itself, or that the text has ended before.
fn alone(classes: &[f64], view: &ConstraintView<'_>, at: usize) -> Option<u16> {
    let mut left = view.rng.uniform(at, view.purpose);
    let best = (0..).zip(classes).max_by(|a, b| a.1.total_cmp(b.1)).filter(|_| view.greedy);
    let found = (0..).zip(classes).find(|(_, p)| {
        left -= *p;
        left < 0.0
    });
    best.or(found).map(|(class, _)| class)
}

/// What is said of a token that stands.
fn written(token: Token) -> Proposal {
    Proposal { token, probability: 1.0, entropy: 0.0, margin: 1.0, best: token, best_probability: 1.0, held: 1.0 }
}

impl ConstraintRun for Run {
    fn draw(&mut self, view: &ConstraintView<'_>) -> lldm_diffusion::Result<Vec<Proposal>> {
        let automaton = self.constraint.automaton().clone();
        let cells = view.canvas.len().min(self.left);
        let place = self.place(cells);
        let class_of = |token: Token| automaton.class_of().get(token as usize).copied();
        let given: Vec<_> = view
            .given
            .iter()
            .map(|(at, token)| (*at, class_of(*token).unwrap_or(automaton.classes() as u16)))
            .collect();
        let chain_of = |rows: &[CellRow]| {
            let rows: Vec<_> = rows.iter().map(CellRow::row).collect();
            Chain::before_given(&automaton, place, &rows, &given)
        };
        let mut rows_now = rows(view, cells, &automaton, None);
        let chain = match chain_of(&rows_now) {
            Err(Error::Empty { .. }) => {
                rows_now = rows(view, cells, &automaton, Some(&self.floors(view.banned)));
                chain_of(&rows_now)
            }
            chain => chain,
        };
        if self.constraint.draws_alone() {
            let marginals = chain.map_or_else(|_| unbound(&rows_now), |chain| chain.marginals());
            let drawn: Vec<_> = (0..cells).map(|at| alone(&marginals.classes[at], view, at)).collect();
            return Ok(self.proposals(view, &rows_now, &marginals, &drawn));
        }
        let chain = chain.map_err(|error| infeasible(&error))?;
        let path = match view.greedy {
            true => {
                let best: Vec<_> = rows_now.iter().map(CellRow::best).collect();
                chain.most_probable(&best).0
            }
            false => chain.draw(|cell| view.rng.uniform(cell, view.purpose)),
        };
        if view.purpose == Purpose::Constraint {
            self.log_z = Some(chain.log_z());
        }
        let drawn: Vec<_> = (0..cells).map(|at| path.classes.get(at).copied()).collect();
        Ok(self.proposals(view, &rows_now, &chain.marginals(), &drawn))
    }

    fn log_z(&self) -> Option<f64> {
        self.log_z
    }

    fn advance(&mut self, tokens: &[Token]) -> lldm_diffusion::Result<()> {
        let automaton = self.constraint.automaton();
        let count = tokens.len().min(self.left);
        (self.written, self.left) = (self.written + count, self.left - count);
        for (at, token) in tokens.iter().enumerate().take(count) {
            if self.constraint.end().contains(token) && automaton.is_accepting(self.state) {
                // What stands behind counts nothing.
                self.left = 0;
                return Ok(());
            }
            let next = automaton.next(self.state, *token);
            if next.is_none() && self.constraint.draws_alone() {
                return Ok(());
            }
            self.state = next.ok_or_else(|| DiffusionError::Contract {
                message: format!(
                    "token {token} in cell {at} of a finished canvas is none that the constraint allows there"
                ),
            })?;
        }
        Ok(())
    }
}
