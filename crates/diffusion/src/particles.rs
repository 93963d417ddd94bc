//! Particles: several runs of one sequence in step, weighed as they go, the poor ones replaced by copies of the good ones.
//!
//! Sequential Monte Carlo, as FK steering uses it (Singhal et al. 2025, arXiv 2501.06848, algorithm 1; reference:
//! zacharyhorvitz/Fk-Diffusion-Steering `discrete_diffusion/fkd_class.py`). After each forward pass a [`Potential`] says what the
//! weight of each particle is multiplied by. Where the effective sample size falls below a share of N, N particles are
//! drawn by their weights, and all weigh the same again. In the end one is drawn by its weight.
//!
//! The product of a particle's potentials is what its path counts for: it may depend on all that has happened, and the law of the
//! text is the sampler's own law times the product. That particles need not be at the same step when they are weighed does not
//! matter to it; answers that need no pass let some be ahead.
//!
//! Deviations from the reference: resampling is systematic, not multinomial; weights of rounds without resampling are carried on,
//! where the reference drops them; nothing is clamped. A copy draws with a stream of its own that no particle has used, so
//! copies part at their next draw; the first particle draws as the sequence would by itself, and one particle is a plain run.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::canvas::Token;
use crate::contract::Observer;
use crate::error::{Error, Result};
use crate::generate::{GenerateConfig, Generation, Parts, Sequence};
use crate::resample::{effective_size, log_sum, normalised, parents, pick};
use crate::rng::{Purpose, Rng};
use crate::run::Run;

/// The round under which the last draw, that of the particle which is taken, is made.
const AFTER_ALL_ROUNDS: usize = u32::MAX as usize;

/// The settings of particles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParticleConfig {
    /// The number of particles N.
    pub count: usize,
    /// The share of N below which an effective sample size has the particles drawn anew; 0 never does, 1 nearly always.
    pub resample_below: f64,
    /// Forward passes from one weighing to the next.
    pub every: usize,
}

/// What a potential is shown of a particle.
#[derive(Clone, Copy, Debug)]
pub struct ParticleView<'a> {
    /// The text as it would be if the last draw of each cell were written, as far as there are draws; at the end the text.
    pub tokens: &'a [Token],
    /// Whether the text is finished. A particle is weighed once more then, and not again.
    pub finished: bool,
    /// Sampler steps taken.
    pub steps: usize,
    /// ln Z of the constraint's last draw, where it tells.
    pub log_z: Option<f64>,
    /// ln of the weight that the constraint's draws have gained since the particle was weighed last: the ratios of successive Z.
    /// None where there is no constraint that tells, or the sampler may change what it wrote.
    pub log_ratio: Option<f64>,
}

/// What particles are weighed by.
pub trait Potential: Send + Sync {
    /// ln of what the weight of a particle is multiplied by. `memory` is the potential's own, empty at first; it goes along
    /// with the particle and its copies.
    fn log_potential(&self, view: &ParticleView<'_>, memory: &mut Vec<f64>) -> Result<f64>;
}

/// The potential of constraints: the ratio of successive Z, with which particles follow the model's law given that the text is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RatioOfZ;

/// Finished particles.
#[derive(Clone, Debug, PartialEq)]
pub struct Population {
    /// The N texts, some of them equal.
    pub generations: Vec<Generation>,
    /// Their weights; the sum is 1.
    pub weights: Vec<f64>,
    /// One of them, drawn by its weight.
    pub chosen: usize,
    /// ln of the mean of all weights: an unbiased estimate of what the product of potentials is in the mean of the sampler's own
    /// law. With [`RatioOfZ`], of the probability that the model writes a valid text.
    pub log_evidence: f64,
    /// How often particles were drawn anew.
    pub resampled: usize,
    /// Forward passes over noisy canvases, all particles together.
    pub nfe: usize,
    /// Forward passes over the context, all particles together.
    pub context_passes: usize,
}

/// What is kept of a particle beside its run.
#[derive(Clone)]
struct Particle {
    log_weight: f64,
    memory: Vec<f64>,
    done: bool,
}

impl Default for ParticleConfig {
    fn default() -> Self {
        Self { count: 8, resample_below: 0.5, every: 1 }
    }
}

impl ParticleConfig {
    fn check(&self, config: &GenerateConfig) -> Result<()> {
        if self.count == 0 || self.every == 0 {
            let setting = if self.count == 0 { "particles" } else { "every" };
            return Err(Error::setting(setting, 0, "at least 1 is needed"));
        }
        if !(0.0..=1.0).contains(&self.resample_below) {
            return Err(Error::setting("resample_below", self.resample_below, "it must lie between 0 and 1"));
        }
        if self.count > 1 && config.transform.temperature == 0.0 {
            let expected = "particles that draw nothing are all the same: it must be above 0";
            return Err(Error::setting("temperature", 0, expected));
        }
        Ok(())
    }
}

impl Potential for RatioOfZ {
    fn log_potential(&self, view: &ParticleView<'_>, _: &mut Vec<f64>) -> Result<f64> {
        view.log_ratio.ok_or_else(|| Error::Particles {
            message:
                "are weighed by a constraint, but none tells of its Z: it takes one, masked noise, and a sampler that \
                      does not change what it wrote"
                    .to_string(),
        })
    }
}

/// Writes one text with particles. Frames of particle k bear the sequence's number plus k 2^32.
pub fn generate_particles(
    parts: &Parts<'_>,
    config: &GenerateConfig,
    sequence: &Sequence,
    particles: &ParticleConfig,
    potential: &dyn Potential,
    mut observer: Option<&mut dyn Observer>,
) -> Result<Population> {
    particles.check(config)?;
    let count = particles.count;
    let stream = |number: usize| sequence.index.wrapping_add((number as u64) << 32);
    let slots: Vec<_> = (0..count).map(|slot| Sequence { index: stream(slot), ..sequence.clone() }).collect();
    let mut batch = Batch::new(parts, config, &slots)?;
    batch.runs.iter_mut().for_each(Run::keep_ratio);
    let mut states = vec![Particle { log_weight: 0.0, memory: Vec::new(), done: false }; count];
    let (mut log_evidence, mut resampled, mut streams) = (0.0, 0, count);
    let rng = Rng::new(sequence.seed, sequence.index);

    for round in 1.. {
        let more = batch.round(&mut observer)?;
        if more && round % particles.every != 0 {
            continue;
        }
        for (run, state) in batch.runs.iter_mut().zip(&mut states).filter(|(_, state)| !state.done) {
            weigh(run, state, potential)?;
        }
        let logs: Vec<_> = states.iter().map(|state| state.log_weight).collect();
        let total = log_sum(&logs);
        if total == f64::NEG_INFINITY {
            let message = "have no weight any more, none of them: take more, or a softer reward".to_string();
            return Err(Error::Particles { message });
        }
        if !more {
            let weights = normalised(&logs);
            let chosen = pick(&weights, rng.at(AFTER_ALL_ROUNDS, 0).uniform(0, Purpose::Resample));
            let (nfe, context_passes) = (batch.nfe, batch.contexts.iter().map(|context| context.passes).sum());
            log_evidence += total - (count as f64).ln();
            let generations = batch.finish();
            return Ok(Population { generations, weights, chosen, log_evidence, resampled, nfe, context_passes });
        }
        let weights = normalised(&logs);
        if effective_size(&weights) < particles.resample_below * count as f64 {
            let parents = parents(&weights, rng.at(round, 0).uniform(0, Purpose::Resample));
            for (slot, parent) in parents.into_iter().enumerate().filter(|(slot, parent)| slot != parent) {
                copy(&mut batch, parent, slot, &slots[slot], stream(streams))?;
                states[slot] = states[parent].clone();
                streams += 1;
            }
            states.iter_mut().for_each(|state| state.log_weight = 0.0);
            log_evidence += total - (count as f64).ln();
            resampled += 1;
        }
    }
    Err(Error::Particles { message: "are never finished".to_string() })
}

/// Multiplies the weight of a particle by its potential.
fn weigh(run: &mut Run<'_>, state: &mut Particle, potential: &dyn Potential) -> Result<()> {
    let finished = run.is_finished();
    let log_ratio = run.take_ratio();
    let tokens = run.draft();
    let log_z = run.constraint.as_ref().and_then(|constraint| constraint.log_z());
    let view = ParticleView { tokens: &tokens, finished, steps: run.steps(), log_z, log_ratio };
    let log = potential.log_potential(&view, &mut state.memory)?;
    if log.is_nan() || log == f64::INFINITY {
        let message = format!("a potential is e^{log}");
        return Err(Error::Contract { message });
    }
    state.log_weight += log;
    state.done = finished;
    Ok(())
}

/// Puts a copy of the particle `parent` in the place of another.
fn copy<'a>(batch: &mut Batch<'a>, parent: usize, slot: usize, sequence: &'a Sequence, stream: u64) -> Result<()> {
    let run = batch.runs[parent].fork(sequence, stream);
    // The context of the particle that ends may do: it holds the same canvases, unless they have parted before.
    if !run.context().eq(batch.runs[slot].context()) {
        let denoiser = run.parts.denoiser;
        let mut context = denoiser.prefill(&sequence.prefix)?;
        for canvas in run.context() {
            denoiser.extend(&mut context, canvas)?;
        }
        context.passes += batch.contexts[slot].passes;
        batch.contexts[slot] = context;
    }
    batch.runs[slot] = run;
    Ok(())
}
