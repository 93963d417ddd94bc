//! Classifier-free guidance against D-CFG (`golden/objectives`, kuleshov-group/discrete-diffusion-guidance), through the sampler
//! that draws: what each cell is drawn from, step by step, from the reference's own canvas. `LLDM_GOLDEN` names another
//! folder of the same form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use lldm_control::ClassifierFree;
use lldm_diffusion::noise::{Alphabet, Masked, Noise, Uniform};
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::sampler::registry::build;
use lldm_diffusion::sampler::{BlockStart, CellProposal, StepTimes, StepView};
use lldm_diffusion::schedule::LogLinear;
use lldm_diffusion::vocabulary::Draw;
use lldm_diffusion::{
    Canvas, Compat, Guidance, LogitTransform, Logits, PosteriorMix, Prediction, Proposal, Rng, Token,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// The README: probabilities to 2e-5 of the largest.
const TOLERANCE: f64 = 2e-5;

struct Golden {
    json: Value,
    bytes: Vec<u8>,
}

impl Golden {
    fn read() -> Self {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden");
        let root = std::env::var_os("LLDM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
        let file = |name: &str| std::fs::read(root.join("objectives").join(name)).expect(name);
        let json: Value = serde_json::from_slice(&file("golden.json")).unwrap();
        Self { json: json["runs"]["guidance"].clone(), bytes: file("golden.safetensors") }
    }

    fn size(&self, name: &str) -> usize {
        self.json["params"][name].as_u64().expect(name) as usize
    }

    /// A tensor, row-major.
    fn tensor(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = tensors.tensor(name).expect(name);
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
            Dtype::I64 => data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect(),
            other => panic!("{name} has the type {other:?}"),
        }
    }
}

/// The table network of the README, in float32.
struct Network {
    tables: [Vec<f32>; 5],
    vocabulary: usize,
}

impl Network {
    fn new(golden: &Golden) -> Self {
        let table = |name| golden.tensor(&format!("in.guidance.net.{name}")).into_iter().map(|x| x as f32).collect();
        Self { tables: ["W", "U", "T", "Pos", "Cls"].map(table), vocabulary: golden.size("V") }
    }

    fn logits(&self, tokens: &[Token], sigma: f64, class: usize) -> Logits {
        let [own, next, time, position, classes] = &self.tables;
        let (v, heat) = (self.vocabulary, (1.0 + sigma as f32).ln());
        let logit = |at: usize, token: usize| {
            let (a, b) = (tokens[at] as usize, tokens[(at + 1) % tokens.len()] as usize);
            ((own[a * v + token] + next[b * v + token]) + heat * time[token])
                + position[at * v + token]
                + classes[class * v + token]
        };
        let values = (0..tokens.len()).flat_map(|at| (0..v).map(move |token| logit(at, token)).collect::<Vec<_>>());
        Logits::new(values.collect(), v).unwrap()
    }
}

#[test]
fn golden_guidance_classifier_free() {
    let golden = Golden::read();
    let cases = golden.json["cases"].as_object().unwrap();
    let free = |case: &Value| case["settings"]["guidance"]["method"] == "cfg";
    let (mut masked, mut uniform) = (0, 0);
    for (name, case) in cases.iter().filter(|(_, case)| free(case)) {
        let gamma = case["settings"]["guidance"]["gamma"].as_f64().unwrap();
        check(&golden, name, case, gamma - 1.0);
        *(if case["settings"]["diffusion"] == "absorbing_state" { &mut masked } else { &mut uniform }) += 1;
    }
    assert!(masked > 0 && uniform > 0);
}

fn check(golden: &Golden, name: &str, case: &Value, scale: f64) {
    let (network, length, batch) = (Network::new(golden), golden.size("L"), golden.size("B"));
    let (v, mask) = (network.vocabulary, network.vocabulary as Token - 1);
    let settings = &case["settings"];
    let absorbing = settings["diffusion"] == "absorbing_state";
    let schedule = LogLinear { eps: 1e-3 };
    let noise: Box<dyn Noise> = match absorbing {
        true => Box::new(Masked { schedule, mask }),
        false => Box::new(Uniform { schedule, alphabet: Alphabet { vocabulary: v, without: None } }),
    };
    let guidance = ClassifierFree::new(scale).unwrap();
    let class = settings["guidance"]["condition"].as_u64().unwrap() as usize;
    let transform =
        LogitTransform { banned: if absorbing { vec![mask] } else { Vec::new() }, ..LogitTransform::default() };
    let probs = golden.tensor(&format!("out.guidance.{name}.probs"));
    let x = golden.tensor(&format!("out.guidance.{name}.x"));
    let steps = case["steps"].as_u64().unwrap() as usize;
    let eps = settings["eps"].as_f64().unwrap();
    let width = (1.0 - eps) / steps as f64;
    // From the canvas that the reference stands on after each step but the last.
    for (step, row) in (1..steps).flat_map(|step| (0..batch).map(move |row| (step, row))) {
        let t = 1.0 - width * step as f64;
        let times = StepTimes::new(t, t - width);
        let tokens: Vec<_> = x[((step - 1) * batch + row) * length..][..length].iter().map(|id| *id as Token).collect();
        let sigma = match settings["time_conditioning"].as_bool() {
            Some(false) => 0.0,
            _ => -noise.marginal(t).alpha.ln(),
        };
        let with = network.logits(&tokens, sigma, class);
        // The class after the last stands for none.
        let without = network.logits(&tokens, sigma, golden.size("classes"));
        let mut sampler = build("ancestral", &Map::new()).unwrap().begin(BlockStart {
            length,
            noisy: length,
            index: 0,
            count: 1,
            compat: Compat::Exact,
        });
        let mixed = guidance.mixes_posteriors() && sampler.draws_posterior(noise.as_ref(), times);
        assert_eq!(mixed, !absorbing, "{name}");
        let mix = PosteriorMix {
            scale: guidance.scale(),
            noise: noise.as_ref(),
            t,
            s: times.s,
            held: &tokens,
            weighs_held: false,
        };
        let joined = guidance.guide(&with, &without).unwrap();
        let ask = |row: usize, token: Token| -> Proposal {
            let request = [RowRequest { row, draw: Draw::Argmax, held: Some(token) }];
            let answer = match mixed {
                true => with.propose_mixed(&without, &mix, &request, &transform),
                false => joined.propose(&request, &transform),
            };
            answer.unwrap()[0]
        };
        let proposals: Vec<_> = (0..length)
            .filter(|at| !absorbing || tokens[*at] == mask)
            .map(|position| CellProposal { position, proposal: ask(position, tokens[position]), eligible: true })
            .collect();
        let view = StepView {
            canvas: &Canvas::noisy(tokens.clone()),
            block: 0..length,
            proposals: &proposals,
            noise: noise.as_ref(),
            weighs_held: false,
            mixed,
            times,
            rng: &Rng::new(0, 0).at(0, 0),
        };
        sampler.next_step(length, view.rng);
        let mixtures = sampler.mixtures(&view).unwrap();
        for (cell, mixture) in proposals.iter().zip(mixtures) {
            let at = cell.position;
            let clean: Vec<_> = (0..v as Token).map(|token| ask(at, token).held).collect();
            let found = mixture.probabilities(tokens[at], &clean, noise.mask(), noise.alphabet());
            let stored = &probs[((step * batch + row) * length + at) * v..][..v];
            for (token, (found, stored)) in found.iter().zip(stored).enumerate() {
                let place = format!("{name} step {step} row {row} cell {at} token {token}");
                assert!((found - stored).abs() <= TOLERANCE, "{place}: {found} for {stored}");
            }
        }
    }
}

/// LLaDA's `logits = un + (w + 1) (cond - un)` is the scale s = w.
#[test]
fn the_scale_is_that_of_llada() {
    let (with, without) = (Logits::new(vec![1.0, -0.5, 2.0], 3).unwrap(), Logits::new(vec![0.0, 0.5, 2.5], 3).unwrap());
    let joined = ClassifierFree::new(1.5).unwrap().guide(&with, &without).unwrap();
    let llada: Vec<_> =
        with.row(0).iter().zip(without.row(0)).map(|(cond, un)| un + (1.5 + 1.0) * (cond - un)).collect();
    assert_eq!(joined.as_any().downcast_ref::<Logits>().unwrap().row(0), llada);
    assert_eq!(ClassifierFree::default().scale(), 0.0);
}

#[test]
fn a_scale_must_be_a_number() {
    let error = ClassifierFree::new(f64::NAN).unwrap_err().to_string();
    assert_eq!(error, "guidance_scale is NaN, but it must be a finite number; 0 guides nowhere");
}
