//! alpha(t) = 1 - t (LLaDA, Nie et al. 2025; MDLM's log-linear schedule without its clip).

use super::Schedule;

/// alpha(t) = 1 - t.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Linear;

impl Schedule for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn alpha(&self, t: f64) -> f64 {
        1.0 - t
    }

    fn alpha_derivative(&self, _: f64) -> f64 {
        -1.0
    }

    fn time_at(&self, alpha: f64) -> f64 {
        1.0 - alpha
    }
}
