//! alpha(t) = exp(-sigma(t)) with sigma(t) = sigma_min^(1-t) sigma_max^t (SEDD, Lou et al. 2024).

use super::Schedule;

/// alpha(t) = exp(-sigma_min^(1-t) sigma_max^t); it starts below 1 and ends above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometric {
    /// The total noise at t = 0.
    pub sigma_min: f64,
    /// The total noise at t = 1.
    pub sigma_max: f64,
}

impl Geometric {
    fn sigma(&self, t: f64) -> f64 {
        self.sigma_min.powf(1.0 - t) * self.sigma_max.powf(t)
    }
}

impl Default for Geometric {
    fn default() -> Self {
        Self { sigma_min: 1e-3, sigma_max: 20.0 }
    }
}

impl Schedule for Geometric {
    fn name(&self) -> &'static str {
        "geometric"
    }

    fn alpha(&self, t: f64) -> f64 {
        (-self.sigma(t)).exp()
    }

    fn alpha_derivative(&self, t: f64) -> f64 {
        -self.sigma(t) * (self.sigma_max / self.sigma_min).ln() * self.alpha(t)
    }

    fn time_at(&self, alpha: f64) -> f64 {
        (-alpha.ln() / self.sigma_min).ln() / (self.sigma_max / self.sigma_min).ln()
    }
}
