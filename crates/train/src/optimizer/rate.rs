//! Learning-rate schedules: linear warmup, then cosine decay, or a plateau with a linear decay at the end (WSD,
//! warmup-stable-decay, Hu et al. 2024, MiniCPM).

use serde::{Deserialize, Serialize};

/// How the rate falls after the warmup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Half a cosine down to zero.
    Cosine,
    /// Constant, then linear down to zero over the last share of the steps.
    #[default]
    Wsd,
}

/// The schedule, as a factor of the peak rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningRate {
    /// Steps of linear warmup.
    pub warmup_steps: usize,
    /// How the rate falls.
    pub decay: Decay,
    /// The share of all steps over which WSD decays.
    pub decay_share: f64,
}

impl Default for LearningRate {
    fn default() -> Self {
        Self { warmup_steps: 50, decay: Decay::default(), decay_share: 0.4 }
    }
}

impl LearningRate {
    /// The factor at `step` of `steps`, both counted from 0.
    pub fn factor(&self, step: usize, steps: usize) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let left = (steps - step.min(steps)) as f64;
        match self.decay {
            Decay::Cosine => {
                let span = steps.saturating_sub(self.warmup_steps).max(1) as f64;
                0.5 * (1.0 + (std::f64::consts::PI * (1.0 - left / span)).cos())
            }
            Decay::Wsd => (left / (self.decay_share * steps as f64).max(1.0)).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_warm_up_hold_and_fall() {
        let wsd = LearningRate { warmup_steps: 10, decay: Decay::Wsd, decay_share: 0.5 };
        assert_eq!(wsd.factor(0, 100), 0.1);
        assert_eq!(wsd.factor(9, 100), 1.0);
        assert_eq!(wsd.factor(50, 100), 1.0);
        assert!((wsd.factor(75, 100) - 0.5).abs() < 1e-12);
        assert_eq!(wsd.factor(100, 100), 0.0);
        let cosine = LearningRate { decay: Decay::Cosine, ..wsd };
        assert_eq!(cosine.factor(10, 110), 1.0);
        assert!((cosine.factor(60, 110) - 0.5).abs() < 1e-12);
        assert!(cosine.factor(110, 110).abs() < 1e-12);
    }
}
