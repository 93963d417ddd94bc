//! alpha(t) = 1 - sqrt(t + s) (Diffusion-LM, Li et al. 2022, section 4.2 and appendix A).

use super::Schedule;

/// alpha(t) = 1 - sqrt(t + s), clipped at 0: noise rises fast at the start, where a token is easily recovered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sqrt {
    /// The offset s; alpha(0) = 1 - sqrt(s).
    pub s: f64,
}

impl Default for Sqrt {
    fn default() -> Self {
        Self { s: 1e-4 }
    }
}

impl Schedule for Sqrt {
    fn name(&self) -> &'static str {
        "sqrt"
    }

    fn alpha(&self, t: f64) -> f64 {
        (1.0 - (t + self.s).sqrt()).max(0.0)
    }

    fn alpha_derivative(&self, t: f64) -> f64 {
        -0.5 / (t + self.s).sqrt()
    }

    fn time_at(&self, alpha: f64) -> f64 {
        (1.0 - alpha).powi(2) - self.s
    }
}
