//! Absorbing noise: a token becomes the mask and stays it (D3PM, Austin et al. 2021, section 3.1; MDLM, Sahoo et al. 2024).

use serde::{Deserialize, Serialize};

use super::registry::{SCHEDULE, Spec};
use super::{Alphabet, Marginal, Noise};
use crate::canvas::Token;
use crate::schedule::{self, Schedule};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "masked",
    aliases: &["absorbing", "absorb"],
    presets: &[],
    summary: "a token becomes the mask and stays it",
    paper: "MDLM, Sahoo et al. 2024, arXiv 2406.07524",
    parameters: &[SCHEDULE],
    build: |values, space| {
        let MaskedConfig { schedule } = serde_json::from_value(values)?;
        Ok(space.mask.map(|mask| Box::new(Masked { schedule: schedule::or_linear(&schedule), mask }) as Box<dyn Noise>))
    },
};

/// The settings of [`Masked`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskedConfig {
    /// The name of the schedule.
    pub schedule: String,
}

/// Each token survives until t with probability alpha(t), independently; otherwise it is the mask.
pub struct Masked<S> {
    /// alpha(t).
    pub schedule: S,
    /// The mask token.
    pub mask: Token,
}

impl<S: Schedule> Noise for Masked<S> {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn marginal(&self, t: f64) -> Marginal {
        let alpha = self.schedule.alpha(t);
        Marginal { alpha, mask: 1.0 - alpha, uniform: 0.0 }
    }

    fn slope(&self, t: f64) -> Marginal {
        let alpha = self.schedule.alpha_derivative(t);
        Marginal { alpha, mask: -alpha, uniform: 0.0 }
    }

    fn mask(&self) -> Option<Token> {
        Some(self.mask)
    }

    fn alphabet(&self) -> Option<Alphabet> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::schedule::Linear;

    fn noise() -> Masked<Linear> {
        Masked { schedule: Linear, mask: 3 }
    }

    #[test]
    fn endpoints_are_identity_and_prior() {
        let rng = Rng::new(1, 0).at(0, 0);
        let clean = [0, 1, 2, 1, 0];
        assert_eq!(noise().corrupt(&clean, 0.0, &rng), clean);
        assert_eq!(noise().corrupt(&clean, 1.0, &rng), noise().prior(5, &rng));
    }

    #[test]
    fn a_visible_token_stays_whatever_is_predicted() {
        assert_eq!(noise().posterior(1, &[1.0, 0.0, 0.0, 0.0], 0.3, 0.7), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_weight_of_a_mask_is_that_of_the_schedule() {
        let weight = noise().bound_weight(3, 1, 0.4);
        // KL and r terms give alpha times the cross-entropy.
        assert!((weight * Linear.alpha(0.4) - Linear.weight(0.4)).abs() < 1e-12);
        assert_eq!(noise().bound_weight(1, 1, 0.4), 0.0);
    }

    #[test]
    fn the_share_of_masks_is_t() {
        let clean = vec![0; 20_000];
        let masks = noise().corrupt(&clean, 0.4, &Rng::new(2, 0).at(0, 0)).iter().filter(|t| **t == 3).count();
        assert!((masks as f64 / 20_000.0 - 0.4).abs() < 0.02);
    }
}
