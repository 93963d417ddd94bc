//! `diffusion_gemma/unit_sampler.json`: which draws the entropy bound keeps, and when a canvas stops early.

use std::collections::BTreeSet;

use lldm_diffusion::sampler::{Action, CellProposal};
use lldm_diffusion::{Canvas, Compat, LogitTransform, Proposal, Rng, Statistics, Token};
use serde::Deserialize;
use serde_json::json;

use crate::{Row, act, cells, propose, read_golden, start};

/// The README: entropies to 1e-5, as the reference sums them in float32.
const ENTROPY_TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitSampler {
    logits: Vec<Vec<Row>>,
    entropy: Vec<Vec<f64>>,
    accept: Vec<Vec<bool>>,
    /// The draw where it is accepted, else what the cell held.
    accepted: Vec<Vec<Token>>,
    stop_seq: Vec<bool>,
}

#[test]
fn golden_diffusion_gemma_accept() {
    let file: UnitSampler = read_golden("diffusion_gemma/unit_sampler.json");
    assert!(!file.logits.is_empty());
    for (row, logits) in file.logits.iter().enumerate() {
        let all: Vec<_> = (0..logits.len()).collect();
        let transform = LogitTransform { statistics: Statistics::Transformed, ..LogitTransform::default() };
        let proposals = propose(logits, &all, &transform, None);
        let mut proposals = cells(&all, &proposals);
        for (cell, entropy) in proposals.iter_mut().zip(&file.entropy[row]) {
            let found = cell.proposal.entropy;
            assert!((found - entropy).abs() <= ENTROPY_TOLERANCE, "cell {}: {found} for {entropy}", cell.position);
            cell.proposal.token = file.accepted[row][cell.position];
        }
        // The defaults are the release's settings.
        let mut sampler = start("entropy_bound", json!({}), all.len(), Compat::Exact);
        let canvas = Canvas::noisy(vec![0; all.len()]);
        let actions: BTreeSet<_> = act(sampler.as_mut(), &canvas, &proposals, &Rng::new(0, 0).at(0, 0))
            .into_iter()
            .map(|(at, action)| match action {
                Action::Draft(token) => (at, Some(token)),
                Action::Renoise => (at, None),
                Action::Commit(token) => panic!("cell {at} ends with {token}"),
            })
            .collect();
        let stored =
            all.iter().map(|at| (*at, file.accept[row][*at].then(|| file.accepted[row][*at]))).collect::<BTreeSet<_>>();
        assert_eq!(actions, stored, "row {row}");
    }
}

/// A canvas that comes twice and then another one, each sure.
#[test]
fn golden_diffusion_gemma_stop() {
    let file: UnitSampler = read_golden("diffusion_gemma/unit_sampler.json");
    assert!(file.stop_seq.contains(&true));
    let mut sampler = start("entropy_bound", json!({}), 1, Compat::Exact);
    let canvases: [Token; 3] = [1, 1, 2];
    assert_eq!(canvases.len(), file.stop_seq.len());
    for (step, (best, stops)) in canvases.into_iter().zip(&file.stop_seq).enumerate() {
        let proposal =
            Proposal { token: 0, probability: 1.0, entropy: 1e-4, margin: 1.0, best, best_probability: 1.0, held: 0.0 };
        let proposals = [CellProposal { position: 0, proposal, eligible: true }];
        let actions = act(sampler.as_mut(), &Canvas::noisy(vec![0]), &proposals, &Rng::new(0, 0).at(0, step));
        assert_eq!(actions == [(0, Action::Commit(best))], *stops, "step {step}: {actions:?}");
    }
}
