//! Where constraints are measured: a vocabulary with a prediction over it.

use std::time::Instant;

use anyhow::{Result, bail};
use lldm::control::Vocabulary;
use lldm::control::automaton::synthetic_tokens;
use lldm::diffusion::denoiser::State;
use lldm::diffusion::rng::stream;
use lldm::diffusion::{Condition, LogitTransform, Prediction, StepInput, Token};
use lldm::{Pipeline, diffusion};
use lldm_eval::median;
use lldm_models::FusedLogits;

use super::measure::{Rounds, requests};
use crate::render::plain;

/// The seed of the synthetic vocabulary and of its logits.
const SEED: u64 = 1;
/// Half of the span of random logits.
const SPREAD: f32 = 8.0;
/// The token that ends a text of the synthetic vocabulary.
const END: Token = 1;

/// A vocabulary, a prediction for a canvas, and what a step of the model takes without a constraint.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) prediction: Box<dyn Prediction>,
    /// Milliseconds of a pass of the network with the plain pass over its answer; none without a network.
    pub(crate) step_ms: Option<f64>,
}

impl Place {
    /// A synthetic vocabulary of `size` tokens, under random logits.
    pub(crate) fn synthetic(size: usize, cells: usize) -> Result<Self> {
        plain::note(&format!("making {size} tokens and {cells} x {size} logits"));
        let vocabulary = Vocabulary::new(&synthetic_tokens(size, SEED), &[END]);
        let logit = |i: u64| ((stream(SEED, i) >> 40) as f32 / 8_388_608.0 - 1.0) * SPREAD;
        let logits = (0..(cells * size) as u64).map(logit).collect();
        let prediction = Box::new(FusedLogits::new(logits, size)?);
        Ok(Self { name: format!("{size} synthetic tokens"), vocabulary, prediction, step_ms: None })
    }

    /// A model, on a canvas of noise of at most so many cells.
    pub(crate) fn of_model(name: &str, cells: usize, rounds: Rounds) -> Result<Self> {
        let pipeline = Pipeline::load(name)?;
        let denoiser = &pipeline.model().denoiser;
        let info = denoiser.info();
        let cells = info.canvas_length.unwrap_or(cells.min(info.max_length));
        if cells == 0 {
            bail!("`{name}` sees no cells");
        }
        plain::note(&format!("measuring steps of {name} on {cells} cells"));
        let token = |i: usize| info.mask.unwrap_or((i * 7 % info.vocabulary) as Token);
        let canvas: Vec<Token> = (0..cells).map(token).collect();
        let transform = LogitTransform::default();
        let mut context = denoiser.prefill(&[])?;
        let mut pass = || -> diffusion::Result<(Box<dyn Prediction>, f64)> {
            let input = StepInput {
                state: State::Tokens(&canvas),
                time: 0.5,
                temperature: 1.0,
                previous: None,
                condition: Condition::Given,
            };
            let start = Instant::now();
            let prediction = denoiser.denoise(&input, &mut context)?;
            prediction.propose(&requests(cells), &transform)?;
            Ok((prediction, 1e3 * start.elapsed().as_secs_f64()))
        };
        let (prediction, _) = pass()?;
        let times: diffusion::Result<Vec<f64>> = (0..rounds.0).map(|_| Ok(pass()?.1)).collect();
        let name = format!("the {} tokens of {name}", info.vocabulary);
        Ok(Self { name, vocabulary: pipeline.vocabulary()?.clone(), prediction, step_ms: Some(median(times?)) })
    }
}
