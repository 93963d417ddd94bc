//! The loop over sequences in step: canvases outside, blocks inside, steps innermost; a frame out of every step. Each sequence is a
//! [`Run`]; a round of the loop is one forward pass for all that need one.

use crate::contract::Observer;
use crate::denoiser::{Condition, Context};
use crate::error::{Error, Result};
use crate::generate::{GenerateConfig, Generation, Parts, Sequence, check};
use crate::prediction::Prediction;
use crate::run::Run;

/// Sequences in step.
pub(crate) struct Batch<'a> {
    parts: &'a Parts<'a>,
    pub(crate) runs: Vec<Run<'a>>,
    pub(crate) contexts: Vec<Context>,
    /// Forward passes over noisy canvases, all sequences together.
    pub(crate) nfe: usize,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(parts: &'a Parts<'a>, config: &'a GenerateConfig, sequences: &'a [Sequence]) -> Result<Self> {
        check(parts, config, sequences)?;
        let mut batch = Self { parts, runs: Vec::new(), contexts: Vec::new(), nfe: 0 };
        for sequence in sequences {
            batch.contexts.push(parts.denoiser.prefill(&sequence.prefix)?);
            batch.runs.push(Run::new(parts, config, sequence)?);
        }
        Ok(batch)
    }

    /// One forward pass for each sequence that needs one, and a step. False if all are finished.
    pub(crate) fn round(&mut self, observer: &mut Option<&mut dyn Observer>) -> Result<bool> {
        // Sequences that need no forward pass (finished, or with a valid answer at hand) are worked off first.
        let mut waiting = vec![false; self.runs.len()];
        for ((run, context), waits) in self.runs.iter_mut().zip(&mut self.contexts).zip(&mut waiting) {
            *waits = run.advance(context, observer)?;
        }
        if !waiting.contains(&true) {
            return Ok(false);
        }
        let predictions = self.denoise(&waiting, Condition::Given)?;
        let mut without = match self.parts.guidance.filter(|guidance| guidance.scale() != 0.0) {
            Some(_) => self.denoise(&waiting, Condition::Hidden)?,
            None => Vec::new(),
        }
        .into_iter();
        let active = self.runs.iter_mut().zip(&waiting).filter(|(_, waits)| **waits).map(|(run, _)| run);
        for (run, prediction) in active.zip(predictions) {
            run.absorb(prediction, without.next(), observer)?;
        }
        Ok(true)
    }

    /// The finished texts.
    pub(crate) fn finish(self) -> Vec<Generation> {
        self.runs.into_iter().zip(&self.contexts).map(|(run, context)| run.finish(context)).collect()
    }

    fn denoise(&mut self, waiting: &[bool], condition: Condition) -> Result<Vec<Box<dyn Prediction>>> {
        let runs = self.runs.iter().zip(waiting).filter(|(_, waits)| **waits);
        let inputs: Vec<_> = runs.map(|(run, _)| run.input(condition)).collect();
        let contexts = self.contexts.iter_mut().zip(waiting).filter(|(_, waits)| **waits);
        let mut contexts: Vec<_> = contexts.map(|(context, _)| context).collect();
        let predictions = self.parts.denoiser.denoise_batch(&inputs, &mut contexts)?;
        if predictions.len() != inputs.len() {
            let message = format!("{} predictions for {} canvases", predictions.len(), inputs.len());
            return Err(Error::Contract { message });
        }
        self.nfe += inputs.len();
        Ok(predictions)
    }
}
