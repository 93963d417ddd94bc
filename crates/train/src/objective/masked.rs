//! The masked bound: cross-entropy of the masked tokens, weighted so that its mean bounds -log p.
//!
//! MDLM (Sahoo et al. 2024, eq. 10), LLaDA (Nie et al. 2025, eq. 3). With M scored tokens of which exactly k are masked
//! the weight is M / k, k uniform on 1..=M: the expectation is the NELBO, which no schedule changes. The mask itself has
//! probability zero (SUBS).

use lldm_diffusion::StepRng;
use lldm_diffusion::rng::Purpose;
use lldm_models::{Attention, Trunk};

use super::loss::{Loss, Measures, Objective, Pass, Rows, Target, weigh};
use super::registry::Spec;
use super::subset::{exact_subset, stratified_count};
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "masked",
    aliases: &["mdlm", "llada"],
    presets: &[],
    summary: "tokens become masks, the masked are predicted; a bound",
    paper: "MDLM, Sahoo et al. 2024, arXiv 2406.07524",
    parameters: &[],
    build: |_| Ok(Box::new(Masked)),
};

/// The objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masked;

impl Objective for Masked {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::Full
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn measures(&self) -> Measures {
        Measures::Bound
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        let (length, count) = (rows.length, rows.count());
        let offset = rng.uniform(0, Purpose::Time);
        let mut tokens = rows.tokens.to_vec();
        let mut targets = Vec::new();
        let mut times = vec![0.0; count];
        for (row, time) in times.iter_mut().enumerate() {
            let start = row * length;
            let places: Vec<_> = (start..start + length).filter(|at| rows.scored[*at]).collect();
            if places.is_empty() {
                continue;
            }
            let k = stratified_count(places.len(), row, count, offset);
            *time = k as f64 / places.len() as f64;
            for at in exact_subset(&places, k, rng, row) {
                targets.push(Target { row: at, token: tokens[at], weight: 1.0 / *time });
                tokens[at] = trunk.config().mask_token_id;
            }
        }
        let positions: Vec<_> = (0..length).collect();
        let visibility = trunk.config().visibility(0);
        let pass = Pass { tokens: &tokens, batch: count, positions: &positions, times: &times, visibility };
        weigh(trunk, &pass, &targets, rows.scored_tokens())
    }
}
