//! The weight of a step under a constraint: by how much the fresh prediction thinks better of the rest than the old one did.
//!
//! A step draws a whole valid text from the constrained posterior of its prediction, and commits the cells U of it. The model by
//! itself would have drawn these cells from the prediction p alone. Let x_t be the canvas before the step and x_s after
//! it, Z(x; p) the probability that p, its cells independent, gives to valid texts on the canvas x, whose written cells are as
//! they are. Then
//!
//! - the model's step has the probability m(x_s | x_t) = prod_{i in U} p_i(x_i);
//! - the constrained step has q(x_s | x_t) = m(x_s | x_t) Z(x_s; p) / Z(x_t; p), for the valid texts that go on from x_s have
//!   that share of all valid texts that go on from x_t.
//!
//! The particles are to follow the model's own law of whole paths, twisted by what is known of the future:
//! gamma(x_1 .. x_s) = m(x_1 .. x_s) Z(x_s; p'), with p' the fresh prediction on x_s. So a step multiplies the weight by
//!
//! w = m(x_s | x_t) Z(x_s; p') / (q(x_s | x_t) Z(x_t; p)) = Z(x_s; p') / Z(x_s; p),
//!
//! the same canvas under the fresh and under the old prediction. At the end Z is 1 for what is valid, so that
//! proposals times weights along a path are m(path) 1[valid]: the weighted particles follow the model's law given that the
//! text is valid, and the mean of the weights estimates the probability that the model writes a valid text. The first factor,
//! Z of the empty canvas, is in it. A canvas that is finished counts 1, also where further canvases follow: whether the
//! text can be completed at all is in the draw already, so the next canvas begins with its own Z.
//!
//! It holds where U does not depend on what was drawn (`random`, `first_hitting`, `ancestral` under masked noise, end tokens
//! under [`EndRule::Free`](crate::EndRule)), and is an approximation otherwise. Where a sampler reads drafts, its steps are no such
//! draws: there is no ratio (see [`crate::particles::ParticleView::log_ratio`]).

use crate::contract::ConstraintView;
use crate::error::Result;
use crate::proposals::Step;
use crate::rng::{Purpose, StepRng};
use crate::run::Run;
use crate::sampler::Reads;
use crate::vocabulary::ClassStat;

/// ln of the weight that a particle has gained, and of Z of its canvas under the last prediction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ratio {
    pub(crate) gained: f64,
    log_z: f64,
}

impl Run<'_> {
    /// From now on the ratio is kept, where there is one.
    pub(crate) fn keep_ratio(&mut self) {
        let commits =
            self.parts.noise.alphabet().is_none() && self.parts.sampler.reads(self.parts.noise) == Reads::Noisy;
        self.ratio = (commits && self.constraint.is_some()).then(Ratio::default);
    }

    /// ln of the weight gained since it was last asked for, if the ratio is kept.
    pub(crate) fn take_ratio(&mut self) -> Option<f64> {
        let finished = self.is_finished();
        let ratio = self.ratio.as_mut()?;
        // Z of a finished text is 1, also where cells behind its end were not written.
        let rest = if finished { std::mem::take(&mut ratio.log_z) } else { 0.0 };
        Some(std::mem::take(&mut ratio.gained) - rest)
    }

    /// Notes ln Z of a fresh draw. Gives back the class statistics that it comes from, if the canvas after the step is to be weighed
    /// under them.
    pub(crate) fn drawn(&mut self, step: &Step) -> Option<Vec<Vec<ClassStat>>> {
        let Some(log_z) = self.constraint.as_ref()?.log_z() else {
            self.ratio = None;
            return None;
        };
        let ratio = self.ratio.as_mut()?;
        ratio.gained += log_z - ratio.log_z;
        ratio.log_z = log_z;
        Some(step.stats.clone())
    }

    /// Weighs the canvas after a step under the statistics of the prediction before it.
    pub(crate) fn written(&mut self, stats: &[Vec<ClassStat>], rng: &StepRng) -> Result<()> {
        let given = &self.given_behind();
        let (Some(open), Some(constraint), Some(ratio)) = (&self.open, &self.constraint, &mut self.ratio) else {
            return Ok(());
        };
        let mut probe = constraint.fork();
        probe.draw(&ConstraintView {
            canvas: &open.canvas,
            given,
            stats,
            leans: &vec![None; open.canvas.len()],
            banned: &self.bans.plain.banned,
            ends_from: self.bans.ends_from(self.tokens.len()),
            greedy: false,
            rng,
            purpose: Purpose::Constraint,
        })?;
        ratio.log_z = probe.log_z().unwrap_or(ratio.log_z);
        Ok(())
    }
}
