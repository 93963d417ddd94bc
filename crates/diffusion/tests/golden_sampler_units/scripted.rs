//! The whole loop of `llada.json` through `generate`, with a denoiser that answers the stored logits.

use lldm_diffusion::noise::Masked;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::Never;
use lldm_diffusion::vocabulary::log_probability;
use lldm_diffusion::{
    Cell, Compat, Context, Denoiser, DenoiserInfo, EndRule, Frame, GenerateConfig, Generation, LogitTransform, Logits,
    Parts, Prediction, Result, Sequence, StepInput, Token, generate,
};
use serde_json::json;

use crate::llada::Steps;
use crate::{Row, TOLERANCE, floats, sampler};

/// Answers each call with the next of the stored logits.
struct Script {
    info: DenoiserInfo,
    steps: Vec<Vec<Row>>,
}

impl Steps {
    /// The largest change of a confidence that comes from the mask's being banned, which the loop always does.
    fn shift(&self, row: usize) -> f64 {
        let mut largest: f64 = 0.0;
        for (logits, confidence) in self.logits.iter().zip(&self.confidence) {
            for (logits, confidence) in logits[row].iter().zip(&confidence[row]) {
                let confidence = confidence.unwrap_or_default();
                largest = largest.max(confidence / (1.0 - self.mask_probability(logits)) - confidence);
            }
        }
        largest
    }

    fn mask_probability(&self, logits: &[Option<f64>]) -> f64 {
        let transform = LogitTransform { banned: self.transform().banned, ..LogitTransform::default() };
        log_probability(&floats(logits), &transform, self.mask_id).exp()
    }

    /// The loop on the stored logits: its frames, from the noise to the last step.
    fn generate(&self, row: usize) -> (Vec<Frame>, Generation) {
        let asked = (0..self.steps).filter(|step| self.quota[*step][row] > 0);
        let steps: Vec<_> = asked.map(|step| self.logits[step][row][self.prompt[row].len()..].to_vec()).collect();
        let info = DenoiserInfo {
            vocabulary: steps[0][0].len(),
            mask: Some(self.mask_id),
            end: Vec::new(),
            max_length: self.canvas[0][row].len(),
            canvas_length: None,
            canvas_grid: None,
            time_dependent: true,
            self_conditioned: false,
            weighs_held: false,
        };
        let sampler = sampler("low_confidence", json!({ "steps": self.steps }));
        let parts = Parts {
            denoiser: &Script { info, steps },
            noise: &Masked { schedule: Linear, mask: self.mask_id },
            sampler: sampler.as_ref(),
            stop: &Never,
            guidance: None,
            constraint: None,
        };
        let config = GenerateConfig {
            max_tokens: self.gen_length,
            canvas_length: self.gen_length,
            block_length: self.block_length,
            end_rule: EndRule::Free,
            transform: self.transform(),
            compat: Compat::Exact,
        };
        let sequence = Sequence {
            prefix: self.prompt[row].clone(),
            pins: Vec::new(),
            first_banned: Vec::new(),
            seed: 0,
            index: row as u64,
        };
        let mut frames = Vec::new();
        let mut observer = |frame: &Frame| frames.push(frame.clone());
        let text = generate(&parts, &config, &[sequence], Some(&mut observer)).unwrap().remove(0);
        frames.pop();
        (frames, text)
    }

    /// The loop against the stored canvases, where no decision is so close that banning the mask could turn it.
    pub(crate) fn whole_loop(&self, row: usize) -> bool {
        if self.min_margin <= self.shift(row) {
            return false;
        }
        let (frames, text) = self.generate(row);
        let start = self.prompt[row].len();
        let asked: Vec<_> = (0..self.steps).filter(|step| self.quota[*step][row] > 0).collect();
        assert_eq!((frames.len(), text.usage.nfe), (asked.len() + 1, asked.len()), "{}", self.name);
        for (frame, at) in frames[1..].iter().zip(&asked) {
            for (cell, seen) in frame.cells.iter().enumerate() {
                let place = format!("{} row {row} step {at} cell {cell}", self.name);
                let canvas = &self.canvas[at + 1][row];
                assert_eq!(seen.state == Cell::Committed, canvas[start + cell] != self.mask_id, "{place}");
                if let Some(confidence) = self.confidence[*at][row][start + cell] {
                    assert_eq!(seen.token, self.x0[*at][row][start + cell], "{place}");
                    let banned = confidence / (1.0 - self.mask_probability(&self.logits[*at][row][start + cell]));
                    assert!((f64::from(seen.probability) - banned).abs() <= 2.0 * TOLERANCE, "{place}");
                }
            }
        }
        assert_eq!(text.tokens, self.canvas[self.steps][row][start..], "{}", self.name);
        true
    }

    /// Where the reference leaves masks in the text: each of our steps uses its quota on other tokens, and none is left.
    pub(crate) fn ours_writes_no_mask(&self, row: usize) {
        let (frames, text) = self.generate(row);
        assert!(!text.tokens.contains(&self.mask_id) && text.tokens.len() == self.gen_length, "{}", self.name);
        assert_eq!(text.usage.steps, frames.len() - 1, "{}", self.name);
        let counts: Vec<_> = frames
            .iter()
            .map(|frame| frame.cells.iter().filter(|cell| cell.state == Cell::Committed).count())
            .collect();
        assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{}: {counts:?}", self.name);
        let shown = frames[1..].iter().flat_map(|frame| &frame.cells).filter(|cell| cell.state != Cell::Noisy);
        assert!(shown.into_iter().all(|cell| cell.token != self.mask_id), "{}", self.name);
    }
}

impl Denoiser for Script {
    fn info(&self) -> &DenoiserInfo {
        &self.info
    }

    fn prefill(&self, prefix: &[Token]) -> Result<Context> {
        Ok(Context { cache: Some(Box::new(0usize)), ..Context::plain(prefix) })
    }

    fn extend(&self, _: &mut Context, _: &[Token]) -> Result<()> {
        Ok(())
    }

    fn denoise(&self, _: &StepInput<'_>, context: &mut Context) -> Result<Box<dyn Prediction>> {
        let call = context.cache.as_mut().unwrap().downcast_mut::<usize>().unwrap();
        let rows = &self.steps[*call];
        *call += 1;
        Ok(Box::new(Logits::new(rows.iter().flat_map(|row| floats(row)).collect(), rows[0].len())?))
    }
}
