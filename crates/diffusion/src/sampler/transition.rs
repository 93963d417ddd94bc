//! Steps that draw each cell by itself from a [`Mixture`]: what the ancestral samplers share.

use super::reverse::{Action, CellProposal, StepView};
use crate::noise::{Mixture, Outcome};
use crate::rng::Purpose;

/// What becomes of a cell that a step has drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// Later steps may change it.
    Draft,
    /// It is written for good.
    Commit,
}

/// The reverse posterior of each cell.
pub(super) fn posteriors(view: &StepView<'_>) -> Vec<Mixture> {
    let cells = view.proposals.iter();
    if view.mixed {
        return cells.map(|_| Mixture::DRAW).collect();
    }
    cells
        .map(|cell| {
            let held = view.canvas.tokens()[cell.position];
            view.noise.reverse(held, held_probability(view, cell), view.times.s, view.times.t)
        })
        .collect()
}

/// The probability that the prediction gives to the token held, as a posterior takes it: where the prediction has weighed
/// that token already, the clean token drawn from it counts as known.
pub(super) fn held_probability(view: &StepView<'_>, cell: &CellProposal) -> f64 {
    if view.weighs_held {
        f64::from(u8::from(cell.proposal.token == view.canvas.tokens()[cell.position]))
    } else {
        cell.proposal.held
    }
}

/// Draws every cell from its mixture. Where noise is marked (masked noise), a drawn token waits until its cell is eligible;
/// where nothing marks it, the text is drawn as a whole.
pub(super) fn draw(view: &StepView<'_>, mixtures: &[Mixture], settle: Settle) -> Vec<(usize, Action)> {
    let write = |token| match settle {
        Settle::Draft => Action::Draft(token),
        Settle::Commit => Action::Commit(token),
    };
    let mut actions = Vec::new();
    for (cell, mixture) in view.proposals.iter().zip(mixtures) {
        let waits = !cell.eligible && view.noise.alphabet().is_none();
        let held = view.canvas.tokens()[cell.position];
        let action = match mixture.outcome(cell.position, view.rng) {
            Outcome::Draw if waits => None,
            Outcome::Draw => Some(write(cell.proposal.token)),
            Outcome::Mask if view.noise.mask() == Some(held) => None,
            Outcome::Mask => Some(Action::Renoise),
            Outcome::Uniform => {
                let token =
                    view.noise.alphabet().map(|alphabet| alphabet.draw(cell.position, view.rng, Purpose::Prior));
                token.map(write)
            }
            // Noise that nothing marks becomes a draft when a step keeps it.
            Outcome::Keep if view.noise.mask() == Some(held) => None,
            Outcome::Keep => Some(write(held)),
        };
        actions.extend(action.map(|action| (cell.position, action)));
    }
    actions
}

/// Writes the most probable token of every cell.
pub(super) fn best(view: &StepView<'_>) -> Vec<(usize, Action)> {
    let cells = view.proposals.iter().filter(|cell| cell.eligible || view.noise.alphabet().is_some());
    cells.map(|cell| (cell.position, Action::Commit(cell.proposal.best))).collect()
}
