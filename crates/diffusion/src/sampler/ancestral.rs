//! Ancestral sampling: T steps of the reverse posterior, whatever the forward process.
//!
//! - Masked noise: MDLM, Sahoo et al. 2024 (arXiv 2406.07524), algorithm 1; reference: kuleshov-group/mdlm `diffusion.py`
//!   (`_ddpm_caching_update`). Where the network ignores t, a step that wrote nothing leaves its answer valid: the loop
//!   reuses it, so that with many steps most cost no forward pass.
//! - Uniform noise: UDLM, Schiff et al. 2024 (arXiv 2412.10193), equation 14; Duo, Sahoo et al. 2025 (arXiv 2506.10892),
//!   with its two ends: `tail = "draw"` draws x_0 from the last posterior, `"greedy"` takes the argmax of one more pass.
//!   Classifier-free guidance mixes its posteriors (D-CFG of UDLM), where all other samplers mix predictions.
//! - Hybrid noise: GIDD, von Rütte et al. 2025; `gidd` adds self-correction.
//!
//! Deviation: the last step goes to s = 0 and writes all that is left by a draw, where MDLM and UDLM stop at 1e-5 and take
//! an argmax of all cells.

use serde::{Deserialize, Serialize};

use super::registry::Spec;
use super::reverse::{Action, BlockSampler, BlockStart, Reads, Sampler, StepTimes, StepView};
use super::transition::{Settle, best, draw, posteriors};
use crate::contract::Statistics;
use crate::noise::{Mixture, Noise};
use crate::registry::Kind;
use crate::rng::StepRng;
use crate::settings;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "ancestral",
    aliases: &["mdlm", "udlm", "duo", "uniform_ancestral", "ddpm"],
    presets: &[],
    summary: "draws from the reverse posterior of the noise in T equal time steps",
    paper: "MDLM, Sahoo et al. 2024, arXiv 2406.07524; UDLM, Schiff et al. 2024, arXiv 2412.10193",
    parameters: AncestralConfig::PARAMETERS,
    build: |values| Ok(Box::new(Ancestral(serde_json::from_value(values)?))),
};

/// Where the steps end when one more pass writes the argmax.
pub(super) const LAST_TIME: f64 = 1e-5;

settings! {
    /// The settings of [`Ancestral`].
    AncestralConfig {
        steps: usize = 64 => "64", Kind::Integer { min: 1 }, "time steps T for each block";
        tail: Tail = Tail::Draw => "\"draw\"", Kind::Choice(&["draw", "greedy"]), "how the last cells are written: by the last draw, or all by the argmax of one more pass";
    }
}

/// How the last cells are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// By the draw of the last step.
    #[default]
    Draw,
    /// All by the argmax of one more pass.
    Greedy,
}

/// The sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ancestral(pub AncestralConfig);

#[derive(Clone)]
struct Run {
    config: AncestralConfig,
    step: usize,
}

impl Sampler for Ancestral {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }

    fn begin(&self, _: BlockStart) -> Box<dyn BlockSampler> {
        Box::new(Run { config: self.0, step: 0 })
    }

    fn reads(&self, noise: &dyn Noise) -> Reads {
        // A token behind a mask never changes again.
        if noise.alphabet().is_some() { Reads::Open } else { Reads::Noisy }
    }

    /// MDLM drops it, Duo and UDLM keep it.
    fn drops_crossing(&self, noise: &dyn Noise) -> bool {
        noise.alphabet().is_none()
    }

    fn statistics(&self) -> Statistics {
        Statistics::Transformed
    }
}

impl BlockSampler for Run {
    fn next_step(&mut self, _: usize, _: &StepRng) -> StepTimes {
        // Cells that no step was allowed to write are left after T steps: the last step is repeated for them.
        match self.config.tail {
            Tail::Draw => StepTimes::grid(self.step, self.config.steps),
            Tail::Greedy => StepTimes::grid_above(LAST_TIME, self.step, self.config.steps),
        }
    }

    fn step(&mut self, view: &StepView<'_>) -> Vec<(usize, Action)> {
        self.step += 1;
        if self.config.tail == Tail::Greedy && view.times.s <= 0.0 {
            return best(view);
        }
        // A token behind a mask never changes again; noise that nothing marks may, until the last step.
        let settled = view.times.s <= 0.0 || view.noise.alphabet().is_none();
        draw(view, &posteriors(view), if settled { Settle::Commit } else { Settle::Draft })
    }

    fn draws_posterior(&self, noise: &dyn Noise, times: StepTimes) -> bool {
        let unmarked = noise.mask().is_none() && noise.alphabet().is_some();
        unmarked && (self.config.tail == Tail::Draw || times.s > 0.0)
    }

    fn mixtures(&self, view: &StepView<'_>) -> Option<Vec<Mixture>> {
        Some(posteriors(view))
    }
}
