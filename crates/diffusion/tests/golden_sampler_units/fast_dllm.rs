//! `fast_dllm.json`: one step on one row, by threshold, by quota or by the factor rule.

use std::collections::{BTreeMap, BTreeSet};

use lldm_diffusion::{Compat, LogitTransform, Token};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Row, close, propose, read, start, step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FastDllm {
    #[serde(rename = "reference")]
    _reference: Value,
    mask_id: Token,
    cases: Vec<OneRow>,
    canvas_without_masks: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneRow {
    set: usize,
    threshold: Option<f64>,
    quota: Option<usize>,
    factor: Option<f64>,
    canvas: Vec<Token>,
    logits: Vec<Row>,
    confidence: Row,
    x0: Vec<Token>,
    transfer: BTreeMap<String, Vec<usize>>,
    #[serde(rename = "min_margin")]
    _min_margin: f64,
}

#[test]
fn golden_sampler_units_fast_dllm() {
    let file: FastDllm = read("fast_dllm.json");
    let (mut thresholds, mut quotas, mut factors, mut one_too_many) = (0, 0, 0, 0);
    for case in &file.cases {
        let name = format!("set {} {:?} {:?} {:?}", case.set, case.threshold, case.quota, case.factor);
        let masked: Vec<_> = (0..case.canvas.len()).filter(|at| case.canvas[*at] == file.mask_id).collect();
        let mut sampler = match (case.threshold, case.quota, case.factor) {
            (Some(threshold), None, None) => {
                thresholds += 1;
                start("threshold", json!({ "threshold": threshold }), masked.len(), Compat::Exact)
            }
            // Ours skips a step without quota instead of asking the denoiser for nothing.
            (None, Some(0), None) => {
                quotas += 1;
                assert!(case.transfer.values().all(Vec::is_empty), "{name}");
                continue;
            }
            // A block of `quota` cells in one step: a plain top-k of the masked cells.
            (None, Some(quota), None) => {
                quotas += 1;
                start("low_confidence", json!({ "steps": 1 }), quota, Compat::Exact)
            }
            (None, None, Some(factor)) => {
                factors += 1;
                start("factor", json!({ "factor": factor }), masked.len(), Compat::Reference)
            }
            _ => panic!("{name} is a rule that this test does not know"),
        };
        let transform = LogitTransform { temperature: 0.0, ..LogitTransform::default() };
        let proposals = propose(&case.logits, &masked, &transform, None);
        for (at, proposal) in masked.iter().zip(&proposals) {
            assert_eq!(proposal.token, case.x0[*at], "{name} cell {at}");
            close(proposal.probability, case.confidence[*at], &format!("{name} cell {at}"));
        }
        let written = step(sampler.as_mut(), &case.canvas, &masked, &proposals);
        assert!(written.iter().all(|(at, token)| case.x0[*at] == *token), "{name}");
        for (edition, transfer) in &case.transfer {
            // The earlier edition also marks cells that are not masked where the quota is larger than their number.
            let transfer = transfer.iter().copied().filter(|at| masked.contains(at)).collect::<BTreeSet<_>>();
            assert_eq!(written.keys().copied().collect::<BTreeSet<_>>(), transfer, "{name} of {edition}");
        }
        if let Some(factor) = case.factor {
            let mut exact = start("factor", json!({ "factor": factor }), masked.len(), Compat::Exact);
            let fewer = step(exact.as_mut(), &case.canvas, &masked, &proposals);
            assert!(fewer.keys().all(|at| written.contains_key(at)), "{name}");
            // Only where all masked cells are written may the last have failed the rule.
            let due = written.len() - fewer.len();
            assert!(due == 0 || due == 1 && written.len() == masked.len() && masked.len() > 1, "{name}");
            one_too_many += due;
        }
    }
    let found =
        format!("{thresholds} threshold, {quotas} quota and {factors} factor cases, {one_too_many} one too many");
    assert!(thresholds > 0 && quotas > 0 && factors > 0 && one_too_many > 0, "{found}");
    for (name, transfer) in &file.canvas_without_masks {
        assert!(transfer.is_empty(), "{name}");
    }
    for name in ["threshold", "low_confidence", "factor"] {
        assert!(step(start(name, json!({}), 0, Compat::Exact).as_mut(), &[0], &[], &[]).is_empty());
    }
}
