//! The rules of samplers that no golden vector covers, on proposals written down here; and runs that must come to an end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use lldm_diffusion::noise::registry::{ALL, Space};
use lldm_diffusion::noise::{self, Masked, Noise};
use lldm_diffusion::sampler::registry::build;
use lldm_diffusion::sampler::{Action, BlockSampler, BlockStart, CellProposal, StepView, euler_step};
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::Never;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{
    Canvas, Compat, EndRule, GenerateConfig, LogitTransform, Parts, Proposal, Rng, Sequence, Token, generate,
};
use serde_json::{Map, Value, json};

const MASK: Token = 9;

/// A canvas of five cells under a sampler.
struct Bench {
    canvas: Canvas,
    sampler: Box<dyn BlockSampler>,
    steps: usize,
}

impl Bench {
    fn new(name: &str, settings: Value) -> Self {
        let sampler = build(name, settings.as_object().unwrap()).unwrap();
        let start = BlockStart { length: 5, noisy: 5, index: 0, count: 1, compat: Compat::Exact };
        Self { canvas: Canvas::noisy(vec![MASK; 5]), sampler: sampler.begin(start), steps: 0 }
    }

    /// One step on (cell, token, probability, entropy): what was written, and whether for good.
    fn step(&mut self, cells: &[(usize, Token, f64, f64)]) -> BTreeMap<usize, (Token, bool)> {
        let proposal = |(position, token, probability, entropy): &(usize, Token, f64, f64)| CellProposal {
            position: *position,
            proposal: Proposal {
                token: *token,
                probability: *probability,
                entropy: *entropy,
                margin: 0.0,
                best: *token,
                best_probability: *probability,
                held: 0.0,
            },
            eligible: true,
        };
        let proposals: Vec<_> = cells.iter().map(proposal).collect();
        let rng = Rng::new(1, 0).at(0, self.steps);
        self.steps += 1;
        let times = self.sampler.next_step(self.canvas.count_noisy(0..5), &rng);
        let view = StepView {
            canvas: &self.canvas,
            block: 0..5,
            proposals: &proposals,
            noise: &Masked { schedule: Linear, mask: MASK },
            weighs_held: false,
            mixed: false,
            times,
            rng: &rng,
        };
        let mut written = BTreeMap::new();
        for (at, action) in self.sampler.step(&view) {
            match action {
                Action::Commit(token) => written.insert(at, (token, true)),
                Action::Draft(token) => written.insert(at, (token, false)),
                Action::Renoise => panic!("cell {at} was taken back"),
            };
        }
        for (at, (token, good)) in &written {
            if *good {
                self.canvas.commit(*at, *token)
            } else {
                self.canvas.draft(*at, *token)
            };
        }
        written
    }
}

fn good(cells: &[(usize, Token)]) -> BTreeMap<usize, (Token, bool)> {
    cells.iter().map(|(at, token)| (*at, (*token, true))).collect()
}

fn draft(cells: &[(usize, Token)]) -> BTreeMap<usize, (Token, bool)> {
    cells.iter().map(|(at, token)| (*at, (*token, false))).collect()
}

/// (cell, token, probability, entropy)
const CELLS: [(usize, Token, f64, f64); 5] =
    [(0, 1, 0.5, 0.9), (1, 2, 0.95, 0.1), (2, 3, 0.7, 0.3), (3, 4, 0.92, 0.2), (4, 5, 0.91, 0.25)];

#[test]
fn sdar_writes_by_its_strategies() {
    // Five cells in two steps: three, then two.
    let first = |strategy: &str, more: Value| {
        let mut settings = json!({ "strategy": strategy, "steps": 2 });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Bench::new("sdar", settings).step(&CELLS)
    };
    assert_eq!(first("static", json!({})), good(&[(1, 2), (3, 4), (4, 5)]));
    assert_eq!(first("sequential", json!({})), good(&[(0, 1), (1, 2), (2, 3)]));
    assert_eq!(first("dynamic", json!({ "threshold": 0.6 })), good(&[(1, 2), (2, 3), (3, 4), (4, 5)]));
    assert_eq!(first("dynamic", json!({ "threshold": 0.92 })), good(&[(1, 2), (3, 4), (4, 5)]), "at least the quota");
    assert_eq!(first("entropy_bounded", json!({ "entropy_bound": 0.31 })), good(&[(1, 2), (3, 4)]), "0.1 + 0.2");
    assert_eq!(first("entropy_bounded", json!({ "entropy_bound": 0.3 })), good(&[(1, 2)]), "less, not as much");
    assert_eq!(first("entropy_bounded", json!({ "entropy_bound": 0.0 })), good(&[(1, 2)]), "one at least");
}

#[test]
fn token_editing_writes_edits_and_ends() {
    let settings = json!({ "threshold": 0.92, "edit_threshold": 0.6, "post_edit_steps": 2 });
    let mut bench = Bench::new("token_editing", settings);
    // Above the threshold, not at it; nothing is sure enough later, so the surest alone.
    assert_eq!(bench.step(&CELLS), draft(&[(1, 2)]));
    let rest = [(0, 1, 0.5, 0.0), (1, 7, 0.6, 0.0), (2, 3, 0.7, 0.0), (3, 4, 0.93, 0.0), (4, 5, 0.94, 0.0)];
    assert_eq!(bench.step(&rest), draft(&[(3, 4), (4, 5)]), "0.6 is no edit at 0.6");
    let edits = [(0, 1, 0.95, 0.0), (1, 7, 0.61, 0.0), (2, 3, 0.96, 0.0), (3, 4, 0.9, 0.0), (4, 6, 0.3, 0.0)];
    assert_eq!(bench.step(&edits), draft(&[(0, 1), (1, 7), (2, 3)]), "masks and an edit in one step");
    // No mask is left: rounds of edits, until one changes nothing.
    let again = [(0, 1, 0.9, 0.0), (1, 7, 0.9, 0.0), (2, 8, 0.9, 0.0), (3, 4, 0.9, 0.0), (4, 5, 0.9, 0.0)];
    assert_eq!(bench.step(&again), draft(&[(2, 8)]));
    let still = again.map(|(at, token, p, h)| (at, token, p, h));
    assert_eq!(bench.step(&still), good(&[(0, 1), (1, 7), (2, 8), (3, 4), (4, 5)]));
}

#[test]
fn token_editing_has_a_last_round_and_can_be_turned_off() {
    let all = |first: Token| [0, 1, 2, 3, 4].map(|at| (at, first + at as Token % 2, 0.99, 0.0));
    let mut bench = Bench::new("token_editing", json!({ "edit_threshold": 0.0, "post_edit_steps": 1 }));
    assert_eq!(bench.step(&all(1)).len(), 5);
    assert!(bench.step(&all(3)).values().all(|(token, good)| *token >= 3 && !good), "one round of edits");
    assert!(bench.step(&all(5)).values().all(|(token, good)| *token <= 4 && *good), "and no more");
    let mut off = Bench::new("token_editing", json!({ "edit_threshold": 1.0 }));
    assert!(off.step(&all(1)).values().all(|(_, good)| *good), "without edits the block is done at once");
}

/// At t = 1 nothing of the text may be left, and rates have no bound: the step is still one.
#[test]
fn euler_steps_begin_at_the_prior() {
    for spec in ALL {
        let noise = noise::registry::build(spec.name, &Map::new(), Space { vocabulary: 10, mask: Some(MASK) }).unwrap();
        let held = noise.mask().unwrap_or(3);
        let step = euler_step(noise.as_ref(), held, 0.1, 0.75, 1.0);
        let parts = [step.keep, step.draw, step.uniform, step.mask];
        assert!(parts.iter().all(|part| part.is_finite()), "{}: {step:?}", spec.name);
        assert!((parts.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{}: {step:?}", spec.name);
        assert!(step.draw > 0.2 && step.draw < 0.35, "{}: a quarter of the time writes a quarter: {step:?}", spec.name);
    }
}

fn steps_taken(name: &str, settings: &Value, noise: &Arc<dyn Noise>, compat: Compat, length: usize) -> usize {
    let text = |n: u32| (0..4).map(|at| n / 3u32.pow(at) % 3).collect::<Vec<Token>>();
    let table = Table::new(10, MASK, Vec::new(), (0..81).map(|n| (text(n), 1.0)).collect()).unwrap();
    let sampler = build(name, settings.as_object().unwrap()).unwrap();
    let parts = Parts {
        denoiser: &table.under(Arc::clone(noise)),
        noise: noise.as_ref(),
        sampler: sampler.as_ref(),
        stop: &Never,
        guidance: None,
        constraint: None,
    };
    let config = GenerateConfig {
        max_tokens: length,
        canvas_length: length,
        block_length: length,
        end_rule: EndRule::Free,
        transform: LogitTransform::default(),
        compat,
    };
    let sequence = |index| Sequence { prefix: vec![], pins: vec![], first_banned: vec![], seed: 3, index };
    let texts = generate(&parts, &config, &(0..20).map(sequence).collect::<Vec<_>>(), None).unwrap();
    texts.iter().map(|text| text.usage.steps).max().unwrap()
}

/// Methods with a planned number of steps take no more than that, whatever the noise, the schedule and the edition.
#[test]
fn planned_steps_are_kept() {
    for spec in ALL {
        for schedule in ["linear", "log_linear", "geometric"] {
            let settings = spec.parameters.iter().filter(|parameter| parameter.name == "schedule");
            let settings = settings.map(|parameter| (parameter.name.to_string(), json!(schedule))).collect();
            let space = Space { vocabulary: 10, mask: Some(MASK) };
            let noise: Arc<dyn Noise> = noise::registry::build(spec.name, &settings, space).unwrap().into();
            for compat in [Compat::Exact, Compat::Reference] {
                for steps in [1, 4, 10, 20] {
                    for (name, settings) in [
                        ("ancestral", json!({ "steps": steps })),
                        ("ancestral", json!({ "steps": steps, "tail": "greedy" })),
                        ("tau_leaping", json!({ "steps": steps, "method": "euler" })),
                        ("remdm", json!({ "steps": steps, "strategy": "loop", "eta": 0.0 })),
                        ("remdm", json!({ "steps": steps, "strategy": "conf" })),
                        ("psi", json!({ "steps": steps })),
                        ("gidd", json!({ "steps": steps, "correction_steps": 3 })),
                        ("entropy_bound", json!({ "steps": steps })),
                    ] {
                        let taken = steps_taken(name, &settings, &noise, compat, 4);
                        assert!(taken <= steps + 5, "{name} {settings} {} {schedule} {compat:?}: {taken}", spec.name);
                    }
                }
            }
        }
    }
}
