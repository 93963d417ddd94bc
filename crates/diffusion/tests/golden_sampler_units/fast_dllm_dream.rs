//! `fast_dllm_dream.json`: Dream with the confidence threshold of Fast-dLLM, from the first pass to the last.

use lldm_diffusion::{Compat, LogitTransform, Statistics, Token};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Row, close, propose, read, start, step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FastDllmDream {
    #[serde(rename = "reference")]
    _reference: Value,
    mask_id: Token,
    cases: Vec<Loop>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loop {
    max_new_tokens: usize,
    steps: usize,
    threshold: f64,
    prompt: Vec<Token>,
    forward_calls: usize,
    logits: Vec<Vec<Row>>,
    masked_confidence_and_x0: Vec<(Row, Vec<Token>)>,
    canvas: Vec<Vec<Token>>,
    #[serde(rename = "min_margin")]
    _min_margin: f64,
}

#[test]
fn golden_sampler_units_fast_dllm_dream() {
    let file: FastDllmDream = read("fast_dllm_dream.json");
    assert!(!file.cases.is_empty());
    for (number, case) in file.cases.iter().enumerate() {
        let settings = json!({ "algorithm": "confidence_threshold", "steps": case.steps, "threshold": case.threshold });
        let mut sampler = start("dream", settings, case.max_new_tokens, Compat::Exact);
        let transform =
            LogitTransform { temperature: 0.0, statistics: Statistics::Transformed, ..LogitTransform::default() };
        let mut tokens = case.canvas[0].clone();
        assert_eq!(tokens[..case.prompt.len()], case.prompt, "case {number}");
        let mut calls = 0;
        while tokens.contains(&file.mask_id) {
            let name = format!("case {number} pass {calls}");
            // A row speaks of the token behind it; the first row stands for itself.
            let mut rows = case.logits[calls].clone();
            rows.rotate_right(1);
            rows[0].clone_from(&case.logits[calls][0]);
            let masked: Vec<_> = (0..tokens.len()).filter(|at| tokens[*at] == file.mask_id).collect();
            let proposals = propose(&rows, &masked, &transform, None);
            let (confidence, x0) = &case.masked_confidence_and_x0[calls];
            for (at, proposal) in proposals.iter().enumerate() {
                assert_eq!(proposal.token, x0[at], "{name} mask {at}");
                close(proposal.probability, confidence[at], &format!("{name} mask {at}"));
            }
            for (at, token) in step(sampler.as_mut(), &tokens, &masked, &proposals) {
                tokens[at] = token;
            }
            calls += 1;
            assert_eq!(tokens, case.canvas[calls], "{name}");
        }
        assert_eq!((calls, case.logits.len()), (case.forward_calls, case.forward_calls), "case {number}");
    }
}
