//! The autoregressive likelihood: each token given those to its left. Exact, and the baseline of every comparison.

use lldm_diffusion::StepRng;
use lldm_models::{Attention, Trunk};

use super::loss::{Loss, Measures, Objective, Pass, Rows, Target, weigh};
use super::registry::Spec;
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "autoregressive",
    aliases: &["ar"],
    presets: &[],
    summary: "each token given those to its left; exact",
    paper: "Bengio et al. 2003, A Neural Probabilistic Language Model",
    parameters: &[],
    build: |_| Ok(Box::new(Autoregressive)),
};

/// The objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Autoregressive;

impl Objective for Autoregressive {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::Causal
    }

    fn takes_time(&self) -> bool {
        false
    }

    fn measures(&self) -> Measures {
        Measures::Exact
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, _: &StepRng) -> Result<Loss> {
        let (length, count) = (rows.length, rows.count());
        let mut tokens = Vec::with_capacity(rows.tokens.len());
        let mut targets = Vec::new();
        for row in 0..count {
            let clean = &rows.tokens[row * length..(row + 1) * length];
            // A row begins behind an end token; the row of a token predicts the next one.
            tokens.push(trunk.config().eos_token_id);
            tokens.extend(&clean[..length - 1]);
            let scored = (0..length).filter(|at| rows.scored[row * length + at]);
            targets.extend(scored.map(|at| Target { row: row * length + at, token: clean[at], weight: 1.0 }));
        }
        let positions: Vec<_> = (0..length).collect();
        let times = vec![0.0; count];
        let visibility = trunk.config().visibility(0);
        let pass = Pass { tokens: &tokens, batch: count, positions: &positions, times: &times, visibility };
        weigh(trunk, &pass, &targets, rows.scored_tokens())
    }
}
