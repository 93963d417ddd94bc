//! alpha(t) = 1 - (1 - eps) t: sigma(t) = -ln(1 - (1 - eps) t) (SEDD, Lou et al. 2024; MDLM `noise_schedule.py`).

use super::Schedule;

/// alpha(t) = 1 - (1 - eps) t; it ends at eps, not at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLinear {
    /// What survives at t = 1.
    pub eps: f64,
}

impl Default for LogLinear {
    fn default() -> Self {
        Self { eps: 1e-3 }
    }
}

impl Schedule for LogLinear {
    fn name(&self) -> &'static str {
        "log_linear"
    }

    fn alpha(&self, t: f64) -> f64 {
        1.0 - (1.0 - self.eps) * t
    }

    fn alpha_derivative(&self, _: f64) -> f64 {
        self.eps - 1.0
    }

    fn time_at(&self, alpha: f64) -> f64 {
        (1.0 - alpha) / (1.0 - self.eps)
    }
}
