//! What a method commits of cells that are ranked already: so many, the sure ones, or as many as a budget allows.
//!
//! Each rule counts how many of the first ranked cells are written; at least one, so that every step makes progress.

use super::reverse::{Action, CellProposal};
use crate::contract::Compat;

/// The action that writes each cell's proposal for good.
pub fn commit(cells: &[CellProposal]) -> Vec<(usize, Action)> {
    cells.iter().map(|cell| (cell.position, Action::Commit(cell.proposal.token))).collect()
}

/// How many of `masks` cells are written in each of `steps` steps: as even as possible, the larger shares first
/// (`get_num_transfer_tokens` of LLaDA's `generate.py`).
pub fn transfer_quota(masks: usize, steps: usize) -> Vec<usize> {
    (0..steps).map(|step| masks / steps + usize::from(step < masks % steps)).collect()
}

/// The cells ranked by probability that have at least `threshold`, and those within `slack` of the surest.
pub(super) fn sure(ranked: &[CellProposal], threshold: f64, slack: f64) -> usize {
    let best = ranked.first().map_or(0.0, |cell| cell.proposal.probability);
    let enough = if slack > 0.0 { threshold.min(best - slack) } else { threshold };
    ranked.iter().take_while(|cell| cell.proposal.probability >= enough).count().max(1)
}

/// The largest n such that the n-th surest cell has probability at least 1 - factor / (n + 1) (Fast-dLLM, Wu et al. 2025,
/// section 3.3). Under [`Compat::Reference`] the last cell is written too when it is the first that fails.
pub(super) fn factor(ranked: &[CellProposal], factor: f64, compat: Compat) -> usize {
    let holds =
        |(at, cell): (usize, &CellProposal)| at == 0 || cell.proposal.probability >= 1.0 - factor / (at + 2) as f64;
    let count = ranked.iter().enumerate().take_while(|item| holds(*item)).count();
    let kept = compat == Compat::Reference && count + 1 == ranked.len();
    (count + usize::from(kept)).max(1)
}

/// The cells ranked by entropy before which the entropies add up to at most `bound` nats (EB-Sampler, Ben-Hamu et al. 2025,
/// equation 9; DiffusionGemma).
pub(super) fn within_entropy(ranked: &[CellProposal], bound: f64) -> usize {
    let mut before = 0.0;
    let fits = ranked.iter().take_while(|cell| {
        let fits = before <= bound;
        before += cell.proposal.entropy;
        fits
    });
    fits.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction::Proposal;

    fn cells(values: &[(f64, f64)]) -> Vec<CellProposal> {
        let cell = |(position, (probability, entropy)): (usize, &(f64, f64))| {
            let (probability, entropy) = (*probability, *entropy);
            let proposal =
                Proposal { token: 0, probability, entropy, margin: 0.0, best: 0, best_probability: 0.0, held: 0.0 };
            CellProposal { position, proposal, eligible: true }
        };
        values.iter().enumerate().map(cell).collect()
    }

    #[test]
    fn quotas_are_even_and_complete() {
        assert_eq!(transfer_quota(8, 3), [3, 3, 2]);
        assert_eq!(transfer_quota(2, 4), [1, 1, 0, 0]);
        for masks in 0..40 {
            for steps in 1..20 {
                assert_eq!(transfer_quota(masks, steps).iter().sum::<usize>(), masks);
            }
        }
    }

    #[test]
    fn the_factor_rule_wants_more_of_later_cells() {
        let ranked = cells(&[(0.5, 0.0), (0.7, 0.0), (0.7, 0.0), (0.7, 0.0)]);
        // 1 - 1/3, 1 - 1/4: the third fails.
        assert_eq!(factor(&ranked, 1.0, Compat::Exact), 2);
        assert_eq!(factor(&ranked, 1.0, Compat::Reference), 2);
        assert_eq!(factor(&ranked[..3], 1.0, Compat::Reference), 3, "the last cell goes along in the reference");
        assert_eq!(factor(&ranked[..3], 1.0, Compat::Exact), 2);
    }

    #[test]
    fn the_entropy_rule_sums_what_comes_before() {
        let ranked = cells(&[(0.0, 0.3), (0.0, 0.1), (0.0, 0.5)]);
        assert_eq!(within_entropy(&ranked, 0.0), 1);
        assert_eq!(within_entropy(&ranked, 0.3), 2);
        assert_eq!(within_entropy(&ranked, 0.41), 3);
    }

    #[test]
    fn the_surest_is_always_written() {
        let ranked = cells(&[(0.4, 0.0), (0.399_995, 0.0), (0.1, 0.0)]);
        assert_eq!(sure(&ranked, 0.9, 0.0), 1);
        assert_eq!(sure(&ranked, 0.9, 1e-5), 2);
        assert_eq!(sure(&ranked, 0.05, 0.0), 3);
    }
}
