//! Absorbing noise: a token becomes the mask and stays it (D3PM, Austin et al. 2021, section 3.1; MDLM, Sahoo et al. 2024).

use super::Noise;
use crate::canvas::Token;
use crate::rng::{Purpose, StepRng};
use crate::schedule::Schedule;

/// Each token survives until t with probability alpha(t), independently; otherwise it is the mask.
pub struct Masked<S> {
    /// alpha(t).
    pub schedule: S,
    /// The mask token.
    pub mask: Token,
}

impl<S: Schedule> Noise for Masked<S> {
    fn prior(&self, length: usize, _: &StepRng) -> Vec<Token> {
        vec![self.mask; length]
    }

    fn corrupt(&self, clean: &[Token], t: f64, rng: &StepRng) -> Vec<Token> {
        let alpha = self.schedule.alpha(t);
        let survives = |position| rng.uniform(position, Purpose::Corrupt) < alpha;
        clean.iter().enumerate().map(|(i, token)| if survives(i) { *token } else { self.mask }).collect()
    }

    fn posterior(&self, noisy: Token, clean: &[f64], s: f64, t: f64) -> Vec<f64> {
        let mut out = vec![0.0; clean.len()];
        if noisy != self.mask {
            out[noisy as usize] = 1.0;
            return out;
        }
        let reveal = self.schedule.reveal(t, s);
        for (to, from) in out.iter_mut().zip(clean) {
            *to = reveal * from;
        }
        out[self.mask as usize] += 1.0 - reveal;
        out
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

    /// Two steps of the posterior, with the true token known, give the same marginal as one draw of the forward process.
    #[test]
    fn posterior_is_consistent_with_the_forward_process() {
        let clean = [0.0, 1.0, 0.0, 0.0];
        let (s, t) = (0.3, 0.7);
        let mut marginal = [0.0; 4];
        for (token, weight) in [(3, t), (1, 1.0 - t)] {
            for (to, p) in marginal.iter_mut().zip(noise().posterior(token, &clean, s, t)) {
                *to += weight * p;
            }
        }
        assert!((marginal[3] - s).abs() < 1e-12 && (marginal[1] - (1.0 - s)).abs() < 1e-12);
    }

    #[test]
    fn the_share_of_masks_is_t() {
        let clean = vec![0; 20_000];
        let masks = noise().corrupt(&clean, 0.4, &Rng::new(2, 0).at(0, 0)).iter().filter(|t| **t == 3).count();
        assert!((masks as f64 / 20_000.0 - 0.4).abs() < 0.02);
    }
}
