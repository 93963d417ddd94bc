//! The continuous-time bound in closed form, for any noise that is known by its marginals.
//!
//! With q = q_t(. | x), q_theta the marginal of the predicted clean token and r = q(z) / q_theta(z), a cell that holds z costs
//! w (KL(q || q_theta) + r - 1 - ln r) (GIDD, von Rütte et al. 2025, arXiv 2503.04482, theorem 1). Under masked noise that is
//! MDLM's weighted cross-entropy, under uniform noise it equals the losses of UDLM (Schiff et al. 2024, arXiv 2412.10193,
//! equation 18) and Duo (Sahoo et al. 2025, arXiv 2506.10892). References: dvruette/gidd `loss.py`,
//! kuleshov-group/discrete-diffusion-guidance `diffusion.py`, s-sahoo/duo `algo.py`.
//!
//! The integral runs over a part [`T_MIN`, `T_MAX`] of the time. -log p is bounded by it together with two more terms:
//!
//! * the reconstruction -ln p(x | z) at `T_MIN`, where p(x | z) is the reverse posterior that samplers end with;
//! * the prior KL(q_t(. | x) || q_t(. | a uniform draw)) at `T_MAX`, a number that depends on the noise alone.
//!
//! Deviations: the references leave both terms out, or take -ln of the plain prediction at t = 0 for the first (UDLM);
//! nothing is clipped, for the sums are formed in float64 from differences of logarithms.

use lldm_diffusion::{Noise, Token};

use super::row_loss::RowLoss;

/// Where the integral over the time begins.
pub const T_MIN: f64 = 1e-3;
/// Where it ends.
pub const T_MAX: f64 = 1.0 - 1e-3;

/// A noised cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisedCell {
    /// The clean token x.
    pub clean: Token,
    /// The token z that the cell holds.
    pub held: Token,
    /// t.
    pub time: f64,
}

/// How far the prediction's marginal is from the true one, in nats, without the weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// KL(q || q_theta).
    pub kl: f64,
    /// r - 1 - ln r.
    pub itakura_saito: f64,
}

/// A cell's numbers, ready for a pass over its logits.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedForm {
    clean: usize,
    held: usize,
    /// alpha.
    alpha: f64,
    /// What the uniform noise gives to each token.
    share: f64,
    /// The token that is no text.
    zero: Option<usize>,
    /// The factor of the loss.
    weight: f64,
    /// Added to the logit of the token held.
    shift: f64,
}

/// The divergence of a cell, from its V logits of the clean token; the mask's logit counts for nothing.
pub fn divergence(noise: &dyn Noise, logits: &[f64], cell: &NoisedCell) -> Divergence {
    ClosedForm::new(noise, cell, 1.0, 0.0).divergence(logits)
}

/// The gradient of KL + r - 1 - ln r by the V logits.
pub fn divergence_gradient(noise: &dyn Noise, logits: &[f64], cell: &NoisedCell) -> Vec<f64> {
    let mut out = vec![0.0; logits.len()];
    ClosedForm::new(noise, cell, 1.0, 0.0).gradient(logits, 1.0, &mut out);
    out
}

/// -ln p(x | z) in nats: the last step of the reverse process, from the cell's V logits of the clean token.
pub fn reconstruction_nats(noise: &dyn Noise, logits: &[f64], cell: &NoisedCell) -> f64 {
    let zero = noise.not_text();
    let log_sum = log_sum_exp(logits, zero.map(|token| token as usize));
    let log_p = |token: Token| match logits.get(token as usize) {
        Some(logit) if zero != Some(token) => logit - log_sum,
        _ => f64::NEG_INFINITY,
    };
    noise.reconstruction_nats(cell.clean, cell.held, log_p(cell.clean), log_p(cell.held).exp(), cell.time)
}

impl Divergence {
    /// Both parts.
    pub fn nats(&self) -> f64 {
        self.kl + self.itakura_saito
    }
}

impl ClosedForm {
    pub(super) fn new(noise: &dyn Noise, cell: &NoisedCell, weight: f64, shift: f64) -> Self {
        let marginal = noise.marginal(cell.time);
        Self {
            clean: cell.clean as usize,
            held: cell.held as usize,
            alpha: marginal.alpha,
            share: noise.alphabet().map_or(0.0, |alphabet| marginal.uniform * alphabet.share(cell.clean)),
            zero: noise.not_text().map(|token| token as usize),
            weight,
            shift,
        }
    }

    fn shifted(&self, logits: &[f64]) -> Vec<f64> {
        let mut logits = logits.to_vec();
        if let Some(logit) = logits.get_mut(self.held) {
            *logit += self.shift;
        }
        logits
    }

    /// q(z) / q_theta(z), where the token held has the probability `p`.
    fn ratio(&self, p: f64) -> f64 {
        match self.zero == Some(self.held) {
            true => 1.0,
            false => {
                let own = if self.held == self.clean { self.alpha } else { 0.0 };
                (own + self.share) / (self.alpha * p + self.share)
            }
        }
    }

    fn divergence(&self, logits: &[f64]) -> Divergence {
        let log_sum = log_sum_exp(logits, self.zero);
        let (alpha, share) = (self.alpha, self.share);
        let kl = if share == 0.0 {
            if alpha == 0.0 { 0.0 } else { alpha * (log_sum - logits[self.clean]) }
        } else {
            let spread = |p: f64| (alpha * p / share).ln_1p();
            let all: f64 = self.text(logits).map(|(_, logit)| spread((logit - log_sum).exp())).sum();
            let own = spread((logits[self.clean] - log_sum).exp());
            (alpha + share) * spread(1.0) - alpha * own - share * all
        };
        let ratio = self.ratio((logits[self.held] - log_sum).exp());
        Divergence { kl, itakura_saito: ratio - 1.0 - ratio.ln() }
    }

    /// Every token that text can hold, with its logit.
    fn text<'a>(&self, logits: &'a [f64]) -> impl Iterator<Item = (usize, f64)> + use<'a> {
        let zero = self.zero;
        logits.iter().copied().enumerate().filter(move |(token, _)| zero != Some(*token))
    }
}

impl RowLoss for ClosedForm {
    const NAME: &'static str = "closed_form";

    fn value(&self, logits: &[f64]) -> f64 {
        if self.weight == 0.0 { 0.0 } else { self.weight * self.divergence(&self.shifted(logits)).nats() }
    }

    fn gradient(&self, logits: &[f64], scale: f64, out: &mut [f64]) {
        if self.weight == 0.0 {
            return;
        }
        let logits = self.shifted(logits);
        let log_sum = log_sum_exp(&logits, self.zero);
        let (alpha, share) = (self.alpha, self.share);
        // p_j times the derivative by p_j, then the softmax.
        let known = |p: f64| if share == 0.0 { 1.0 } else { alpha * p / (alpha * p + share) };
        let mut total = 0.0;
        let mut terms = vec![0.0; logits.len()];
        let mut probabilities = vec![0.0; logits.len()];
        for (token, logit) in self.text(&logits) {
            let p = (logit - log_sum).exp();
            let mass = share + if token == self.clean { alpha } else { 0.0 };
            let mut term = -mass * known(p);
            if token == self.held {
                term += known(p) * (1.0 - self.ratio(p));
            }
            (terms[token], probabilities[token]) = (term, p);
            total += term;
        }
        for ((out, term), p) in out.iter_mut().zip(terms).zip(probabilities) {
            *out += scale * self.weight * (term - p * total);
        }
    }
}

/// ln of the sum of exp over all entries but `zero`.
pub(super) fn log_sum_exp(logits: &[f64], zero: Option<usize>) -> f64 {
    let text = || logits.iter().enumerate().filter(|(token, _)| zero != Some(*token)).map(|(_, logit)| *logit);
    let top = text().fold(f64::NEG_INFINITY, f64::max);
    top + text().map(|logit| (logit - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lldm_diffusion::noise::{Alphabet, Hybrid, Masked, Uniform};
    use lldm_diffusion::schedule::{Cosine, Linear};

    const LOGITS: [f64; 5] = [0.3, -1.2, 2.0, 0.0, 5.0];

    fn noises() -> Vec<Box<dyn Noise>> {
        let alphabet = Alphabet { vocabulary: 5, without: Some(4) };
        vec![
            Box::new(Masked { schedule: Linear, mask: 4 }),
            Box::new(Uniform { schedule: Cosine, alphabet }),
            Box::new(Hybrid::new(0.2, 5, 4)),
        ]
    }

    /// Term by term from the marginals.
    #[test]
    fn the_divergence_is_that_of_the_marginals() {
        let log_sum = log_sum_exp(&LOGITS, Some(4));
        for noise in noises() {
            for (clean, held) in [(0, 0), (0, 2), (1, 4)] {
                let cell = NoisedCell { clean, held, time: 0.4 };
                let now = noise.marginal(0.4);
                let q = |z: Token| noise.noise_at(now, z) + if z == clean { now.alpha } else { 0.0 };
                let p = |z: Token| if z == 4 { 0.0 } else { (LOGITS[z as usize] - log_sum).exp() };
                let theta = |z: Token| noise.noise_at(now, z) + now.alpha * p(z);
                if q(held) == 0.0 {
                    continue;
                }
                let kl: f64 = (0..5).filter(|z| q(*z) > 0.0).map(|z| q(z) * (q(z) / theta(z)).ln()).sum();
                let ratio: f64 = q(held) / theta(held);
                let found = divergence(noise.as_ref(), &LOGITS, &cell);
                assert!((found.kl - kl).abs() < 1e-12, "{}: {found:?}", noise.name());
                assert!((found.itakura_saito - (ratio - 1.0 - ratio.ln())).abs() < 1e-12);
                let gradient = divergence_gradient(noise.as_ref(), &LOGITS, &cell);
                for token in 0..5 {
                    let moved = |by: f64| {
                        let mut logits = LOGITS;
                        logits[token] += by;
                        divergence(noise.as_ref(), &logits, &cell).nats()
                    };
                    let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((gradient[token] - slope).abs() < 1e-8, "{}: {token}", noise.name());
                }
            }
        }
    }

    #[test]
    fn the_last_step_is_the_posterior_of_the_noise() {
        let log_sum = log_sum_exp(&LOGITS, Some(4));
        let p: Vec<f64> = (0..5).map(|z| if z == 4 { 0.0 } else { (LOGITS[z] - log_sum).exp() }).collect();
        for noise in noises() {
            for held in [0, 2, 4].into_iter().filter(|held| *held != 4 || noise.mask().is_some()) {
                let posterior = noise.posterior(held, &p, 0.0, 0.3);
                for clean in 0..4 {
                    let cell = NoisedCell { clean, held, time: 0.3 };
                    let found = (-reconstruction_nats(noise.as_ref(), &LOGITS, &cell)).exp();
                    assert!((found - posterior[clean as usize]).abs() < 1e-12, "{}", noise.name());
                }
            }
        }
    }

    #[test]
    fn little_is_left_of_the_prior() {
        let [masked, uniform, hybrid] = &noises()[..] else { return };
        // Nothing tells the token but what survives: alpha ln N.
        assert!((masked.prior_nats(5, T_MAX) - 1e-3 * 4f64.ln()).abs() < 1e-9);
        assert!(uniform.prior_nats(5, T_MAX) < 1e-9);
        assert!(hybrid.prior_nats(5, T_MAX) < 1e-3 * 4f64.ln());
        assert!((uniform.prior_nats(5, 0.0) - 4f64.ln()).abs() < 1e-9);
    }
}
