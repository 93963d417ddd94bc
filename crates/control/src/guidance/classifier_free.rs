//! Classifier-free guidance: away from what the model says without the prompt (Ho and Salimans 2022, arXiv 2207.12598).
//!
//! The scale s is that of [`Guidance`]: guided = c + s (c - u), c with the prompt and u without it, so that s = 0 is the plain
//! conditional model and s = -1 the unconditional one.
//!
//! - Masked noise: the logits are joined. LLaDA (Nie et al. 2025, arXiv 2502.09992; ML-GSAI/LLaDA `generate.py`, `cfg_scale`)
//!   has w = s. D-CFG (Schiff et al. 2024, arXiv 2412.10193; kuleshov-group/discrete-diffusion-guidance) joins ln p(x_0) with
//!   gamma = 1 + s, which is the same.
//! - Uniform noise: D-CFG mixes the posteriors q(x_s | x_t) in logarithms. So does the `ancestral` sampler; all others, whose steps
//!   are no plain posteriors, join the logits as under masked noise. So it is under hybrid noise, of which D-CFG does not
//!   speak, under a constraint, and at temperature 0.
//!
//! It costs a second forward pass at each step, in which the prompt is hidden as the family hides it; a family that cannot says so.

use lldm_diffusion::{Error, Guidance, Prediction, Result};

/// Classifier-free guidance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassifierFree {
    scale: f64,
}

impl ClassifierFree {
    /// Guidance at the scale s.
    ///
    /// # Errors
    /// A setting's error where s is no finite number.
    pub fn new(scale: f64) -> Result<Self> {
        if !scale.is_finite() {
            return Err(Error::setting("guidance_scale", scale, "it must be a finite number; 0 guides nowhere"));
        }
        Ok(Self { scale })
    }
}

impl Guidance for ClassifierFree {
    fn scale(&self) -> f64 {
        self.scale
    }

    fn guide(&self, with: &dyn Prediction, without: &dyn Prediction) -> Result<Box<dyn Prediction>> {
        with.away_from(without, self.scale)
    }

    fn mixes_posteriors(&self) -> bool {
        true
    }
}
