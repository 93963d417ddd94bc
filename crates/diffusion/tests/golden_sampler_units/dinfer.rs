//! `dinfer.json`: one step on one row by each rule of dInfer.

use std::collections::{BTreeMap, BTreeSet};

use lldm_diffusion::sampler::{Action, BlockSampler};
use lldm_diffusion::{Canvas, Compat, LogitTransform, Rng, Token};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Row, act, cells, close, propose, read, start};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dinfer {
    #[serde(rename = "reference")]
    _reference: Value,
    mask_id: Token,
    cases: Vec<OneRow>,
    credit: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneRow {
    rule: String,
    threshold: Option<f64>,
    low_threshold: Option<f64>,
    remask_threshold: Option<f64>,
    minimal_topk: Option<usize>,
    block_end: Option<usize>,
    factor: Option<f64>,
    canvas: Vec<Token>,
    logits: Vec<Row>,
    #[serde(default)]
    confidence_all: Row,
    x0: Vec<Token>,
    transfer: Vec<usize>,
    #[serde(rename = "min_margin")]
    _min_margin: Option<f64>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

/// Why a part of `dinfer.json` is not reproduced as it stands.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    /// The reference leaves such a cell out of the choice; ours bans the mask, so that the cell has another proposal. The
    /// test makes the cell one that may not be written, and then decides as the reference does.
    MaskIsPredicted,
    /// Credit adds a history of every (cell, token) to the logits, and a sampler sees no logits.
    Credit,
}

#[test]
fn golden_sampler_units_dinfer() {
    let file: Dinfer = read("dinfer.json");
    let (mut tested, mut left_out) = (BTreeMap::new(), BTreeSet::new());
    for (number, case) in file.cases.iter().enumerate() {
        *tested.entry(case.rule.as_str()).or_insert(0) += 1;
        if case.check(file.mask_id, &format!("{} (case {number})", case.rule)) {
            left_out.insert((case.rule.as_str(), LeftOut::MaskIsPredicted));
        }
    }
    if !file.credit.is_empty() {
        left_out.insert(("credit", LeftOut::Credit));
    }
    if std::env::var_os("LLDM_GOLDEN").is_none() {
        let rules = ["cache_topk", "factor", "hierarchy", "hierarchy_fast_v2", "hierarchy_remask", "threshold"];
        assert!(tested.keys().eq(&rules), "{tested:?}");
        let listed = BTreeSet::from([("credit", LeftOut::Credit), ("threshold", LeftOut::MaskIsPredicted)]);
        assert_eq!(left_out, listed);
    }
}

impl OneRow {
    fn sampler(&self, noisy: usize) -> Box<dyn BlockSampler> {
        // A threshold that is not given is one that no probability passes, or one that every probability passes.
        let (high, low) = (self.threshold.unwrap_or(1.0), self.low_threshold.unwrap_or(0.0));
        let hierarchy = |rule: &str| json!({ "rule": rule, "threshold": high, "low_threshold": low });
        let (name, settings) = match self.rule.as_str() {
            "threshold" => ("threshold", json!({ "threshold": high, "slack": 1e-5 })),
            "cache_topk" => {
                assert_eq!(self.block_end, Some(self.canvas.len()), "blocks are those of the loop");
                ("threshold", json!({ "threshold": high, "minimum": self.minimal_topk.expect("a minimum") }))
            }
            "factor" => ("factor", json!({ "factor": self.factor.expect("a factor") })),
            "hierarchy" => ("hierarchical", hierarchy("runs")),
            "hierarchy_fast_v2" => ("hierarchical", hierarchy("fast")),
            "hierarchy_remask" => {
                let mut settings = hierarchy("remask");
                settings["remask_threshold"] = json!(self.remask_threshold.expect("a threshold"));
                ("hierarchical", settings)
            }
            other => panic!("this test does not know the rule `{other}`"),
        };
        start(name, settings, noisy, Compat::Reference)
    }

    /// Compares the canvas after the step; says whether the mask is the argmax of a masked cell.
    fn check(&self, mask: Token, name: &str) -> bool {
        let mut canvas = Canvas::noisy(self.canvas.clone());
        for at in (0..canvas.len()).filter(|at| self.canvas[*at] != mask) {
            canvas.draft(at, self.canvas[at]);
        }
        let noisy: Vec<_> = (0..canvas.len()).filter(|at| self.canvas[*at] == mask).collect();
        let all: Vec<_> = (0..canvas.len()).collect();
        let read = if self.rule == "hierarchy_remask" { &all } else { &noisy };

        let transform = LogitTransform { temperature: 0.0, ..LogitTransform::default() };
        let proposals = propose(&self.logits, read, &transform, None);
        let mut proposals = cells(read, &proposals);
        for cell in &mut proposals {
            if let Some(confidence) = self.confidence_all.get(cell.position) {
                close(cell.proposal.probability, *confidence, &format!("{name} cell {}", cell.position));
            }
            cell.eligible = cell.proposal.token != mask;
        }
        let predicted = proposals.iter().any(|cell| !cell.eligible);

        let mut sampler = self.sampler(noisy.len());
        for (at, action) in act(sampler.as_mut(), &canvas.clone(), &proposals, &Rng::new(0, 0).at(0, 0)) {
            match action {
                Action::Commit(token) => canvas.commit(at, token),
                Action::Draft(token) => canvas.draft(at, token),
                Action::Renoise => canvas.renoise(at, mask),
            };
        }
        let mut stored = self.canvas.clone();
        self.transfer.iter().for_each(|at| stored[*at] = self.x0[*at]);
        assert_eq!(canvas.tokens(), stored, "{name}");
        predicted
    }
}
