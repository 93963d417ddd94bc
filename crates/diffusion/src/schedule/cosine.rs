//! alpha(t) = 1 - cos(pi/2 (1 - t)) (MaskGIT, Chang et al. 2022; MDLM's cosine schedule).

use std::f64::consts::FRAC_PI_2;

use super::Schedule;

/// alpha(t) = 1 - cos(pi/2 (1 - t)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cosine;

impl Schedule for Cosine {
    fn name(&self) -> &'static str {
        "cosine"
    }

    fn alpha(&self, t: f64) -> f64 {
        1.0 - (FRAC_PI_2 * (1.0 - t)).cos()
    }

    fn alpha_derivative(&self, t: f64) -> f64 {
        -FRAC_PI_2 * (FRAC_PI_2 * (1.0 - t)).sin()
    }

    fn time_at(&self, alpha: f64) -> f64 {
        1.0 - (1.0 - alpha).acos() / FRAC_PI_2
    }
}
