//! The samplers against the published functions on given logits, canvases and draws (`golden/sampler_units`, and
//! `golden/diffusion_gemma/unit_sampler.json`).
//!
//! Every size, setting and case comes from the files; `LLDM_GOLDEN` names another folder of the same form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod diffusion_gemma;
mod dinfer;
mod dream;
mod fast_dllm;
mod fast_dllm_dream;
mod llada;
mod scripted;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lldm_diffusion::noise::Masked;
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::sampler::{Action, BlockSampler, BlockStart, CellProposal, StepView, registry::build};
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::vocabulary::Draw;
use lldm_diffusion::{Canvas, Compat, LogitTransform, Logits, Prediction, Proposal, Rng, Sampler, StepRng, Token};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The README: confidences to 1e-6.
const TOLERANCE: f64 = 1e-6;

/// A row of numbers; `null` is minus infinity.
type Row = Vec<Option<f64>>;

/// A file of `golden/sampler_units`.
fn read<T: DeserializeOwned>(file: &str) -> T {
    read_golden(&format!("sampler_units/{file}"))
}

/// A file of `golden`.
fn read_golden<T: DeserializeOwned>(file: &str) -> T {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden");
    let root = std::env::var_os("LLDM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let path = root.join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sampler(name: &str, settings: Value) -> Box<dyn Sampler> {
    build(name, settings.as_object().unwrap()).unwrap()
}

/// A sampler on a canvas of one block.
fn start(name: &str, settings: Value, noisy: usize, compat: Compat) -> Box<dyn BlockSampler> {
    sampler(name, settings).begin(BlockStart { length: noisy, noisy, index: 0, count: 1, compat })
}

fn floats(row: &[Option<f64>]) -> Vec<f32> {
    row.iter().map(|value| value.map_or(f32::NEG_INFINITY, |value| value as f32)).collect()
}

/// The stored draws: u = (k + 0.5) / 65536.
fn uniforms(k: &[f64]) -> Vec<f64> {
    k.iter().map(|k| (k + 0.5) / 65536.0).collect()
}

fn close(found: f64, stored: Option<f64>, place: &str) {
    let stored = stored.unwrap_or_else(|| panic!("{place} has no stored confidence"));
    assert!((found - stored).abs() <= TOLERANCE, "{place}: confidence {found} for {stored}");
}

/// The proposals for the masked cells of one row of the batch, with given draws or the argmax.
fn propose(rows: &[Row], masked: &[usize], transform: &LogitTransform, k: Option<&[Vec<f64>]>) -> Vec<Proposal> {
    let logits = Logits::new(rows.iter().flat_map(|row| floats(row)).collect(), rows[0].len()).unwrap();
    let uniforms: Vec<_> = k.unwrap_or_default().iter().map(|k| uniforms(k)).collect();
    let draw = |row: usize| uniforms.get(row).map_or(Draw::Argmax, |uniforms| Draw::Uniforms(uniforms));
    let requests: Vec<_> = masked.iter().map(|row| RowRequest { row: *row, draw: draw(*row), held: None }).collect();
    logits.propose(&requests, transform).unwrap()
}

/// A canvas whose cells at `masked` are noise and whose others are written.
fn canvas(tokens: &[Token], masked: &[usize]) -> Canvas {
    let mut cells = Canvas::noisy(tokens.to_vec());
    for at in (0..tokens.len()).filter(|at| !masked.contains(at)) {
        cells.commit(at, tokens[at]);
    }
    cells
}

/// The proposals of the cells `at`, all of which may be written.
fn cells(at: &[usize], proposals: &[Proposal]) -> Vec<CellProposal> {
    let cell =
        |(at, proposal): (&usize, &Proposal)| CellProposal { position: *at, proposal: *proposal, eligible: true };
    at.iter().zip(proposals).map(cell).collect()
}

/// One step of a sampler.
fn act(
    sampler: &mut dyn BlockSampler,
    canvas: &Canvas,
    proposals: &[CellProposal],
    rng: &StepRng,
) -> Vec<(usize, Action)> {
    let times = sampler.next_step(canvas.count_noisy(0..canvas.len()), rng);
    let noise = Masked { schedule: Linear, mask: Token::MAX };
    let view = StepView {
        canvas,
        block: 0..canvas.len(),
        proposals,
        noise: &noise,
        weighs_held: false,
        mixed: false,
        times,
        rng,
    };
    sampler.step(&view)
}

/// One step of a sampler that only writes for good: what it writes, by cell.
fn step(
    sampler: &mut dyn BlockSampler,
    tokens: &[Token],
    masked: &[usize],
    proposals: &[Proposal],
) -> BTreeMap<usize, Token> {
    let actions = act(sampler, &canvas(tokens, masked), &cells(masked, proposals), &Rng::new(0, 0).at(0, 0));
    let written = actions.into_iter().map(|(at, action)| match action {
        Action::Commit(token) => (at, token),
        other => panic!("cell {at}: {other:?}"),
    });
    written.collect()
}
