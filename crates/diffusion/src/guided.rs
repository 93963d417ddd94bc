//! Guidance at work on one sequence: the answers with and without the prefix become one.
//!
//! Mostly the predictions are joined, as soon as they are there. Guidance that mixes posteriors waits for the step, which decides
//! between what times the posteriors lie; a step that draws from something else than the posterior (or at temperature 0, where
//! a posterior is that of a known token) has the predictions joined after all. So has a constraint, which draws clean texts.

use crate::error::Result;
use crate::open::Open;
use crate::prediction::{PosteriorMix, Prediction};
use crate::run::Run;

impl Run<'_> {
    /// Joins the predictions of the open canvas, unless the step mixes their posteriors: then true.
    pub(crate) fn guide(&mut self) -> Result<bool> {
        let (Some(guidance), Some(open)) = (self.parts.guidance, &mut self.open) else { return Ok(false) };
        let (Some(with), Some(without)) = (&open.prediction, &open.without) else { return Ok(false) };
        let mixes = guidance.mixes_posteriors()
            && self.constraint.is_none()
            && self.config.transform.temperature * open.times.heat > 0.0
            && open.sampler.as_ref().is_some_and(|sampler| sampler.draws_posterior(self.parts.noise, open.times));
        if !mixes {
            open.prediction = Some(guidance.guide(with.as_ref(), without.as_ref())?.into());
            open.without = None;
        }
        Ok(mixes)
    }

    /// The prediction without the prefix, and how its posterior is mixed with the other's.
    pub(crate) fn mix<'a>(&'a self, open: &'a Open) -> Option<(&'a dyn Prediction, PosteriorMix<'a>)> {
        let mix = PosteriorMix {
            scale: self.parts.guidance?.scale(),
            noise: self.parts.noise,
            t: open.times.t,
            s: open.times.s,
            held: open.canvas.tokens(),
            weighs_held: self.parts.denoiser.info().weighs_held,
        };
        Some((open.without.as_deref()?, mix))
    }
}
