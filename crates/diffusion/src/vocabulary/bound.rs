//! The terms of the likelihood bound that need a whole row: KL(q || q_theta) + r - 1 - ln r of a cell (GIDD, von Rütte et al.
//! 2025, theorem 1; UDLM, Schiff et al. 2024, equation 18), and the log probabilities of two tokens.

use super::row::Row;
use crate::canvas::Token;
use crate::contract::LogitTransform;
use crate::noise::Noise;

/// A cell of a noisy text whose clean token is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisedCell {
    /// The row of the prediction.
    pub row: usize,
    /// The clean token x.
    pub clean: Token,
    /// The token z that the cell holds.
    pub held: Token,
    /// What is added to the logit of the token held: 0, or minus the log likelihood ratio that a prediction has weighed in.
    pub shift: f64,
}

/// What a row says about its cell, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundTerms {
    /// KL(q || q_theta) + r - 1 - ln r, with q = q_t(. | x), q_theta the marginal of the prediction, r = q(z) / q_theta(z).
    pub divergence: f64,
    /// ln p(x).
    pub log_clean: f64,
    /// p(z).
    pub held: f64,
}

/// The terms of one row of V logits at time t.
pub fn bound_terms(
    logits: &[f32],
    transform: &LogitTransform,
    noise: &dyn Noise,
    cell: &NoisedCell,
    t: f64,
) -> BoundTerms {
    let row = Row::new(logits, transform);
    let logit = |token: usize| row.logit(token) + if token == cell.held as usize { cell.shift } else { 0.0 };
    let (clean, held) = (cell.clean as usize, cell.held as usize);
    let shifted = || row.iter().map(|(token, _)| (token, logit(token)));
    let best = shifted().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let log_sum = best + shifted().map(|(_, logit)| (logit - best).exp()).sum::<f64>().ln();
    let log_p = |token: usize| if token < logits.len() { logit(token) - log_sum } else { f64::NEG_INFINITY };

    let now = noise.marginal(t);
    let share = noise.alphabet().map_or(0.0, |alphabet| alphabet.share(cell.clean)) * now.uniform;
    // The log of the ratio q / q_theta at a token.
    let log_ratio = |token: usize| {
        let own = if token == clean { now.alpha } else { 0.0 };
        if share > 0.0 {
            // Differences of logarithms, so that small shares lose nothing.
            (own / share).ln_1p() - (now.alpha * log_p(token).exp() / share).ln_1p()
        } else {
            own.ln() - now.alpha.ln() - log_p(token)
        }
    };
    let mut kl = (now.alpha + share) * log_ratio(clean);
    if share > 0.0 {
        kl += row.iter().filter(|(token, _)| *token != clean).map(|(token, _)| share * log_ratio(token)).sum::<f64>();
    }
    let log_r = if noise.mask() == Some(cell.held) { 0.0 } else { log_ratio(held) };
    BoundTerms { divergence: kl + log_r.exp_m1() - log_r, log_clean: log_p(clean), held: log_p(held).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Alphabet, Hybrid, Masked, Uniform};
    use crate::schedule::Linear;

    /// The sums of the definition, token by token.
    fn by_definition(p: &[f64], noise: &dyn Noise, cell: &NoisedCell, t: f64) -> f64 {
        let now = noise.marginal(t);
        let q = |token: Token, own: f64| now.alpha * own + noise.noise_at(now, token);
        let tokens = 0..p.len() as Token;
        let truth = |token: Token| q(token, f64::from(u8::from(token == cell.clean)));
        let model = |token: Token| q(token, p[token as usize]);
        let kl: f64 = tokens.filter(|v| truth(*v) > 0.0).map(|v| truth(v) * (truth(v) / model(v)).ln()).sum();
        let r = truth(cell.held) / model(cell.held);
        kl + r - 1.0 - r.ln()
    }

    #[test]
    fn the_terms_are_those_of_the_definition() {
        let p = [0.5, 0.2, 0.0, 0.3];
        let logits: Vec<f32> = p.iter().map(|p: &f64| p.ln() as f32).collect();
        let alphabet = Alphabet { vocabulary: 4, without: Some(2) };
        let noises: [&dyn Noise; 3] =
            [&Uniform { schedule: Linear, alphabet }, &Hybrid::new(0.2, 4, 2), &Masked { schedule: Linear, mask: 2 }];
        for noise in noises {
            for (clean, held) in [(0, 0), (0, 1), (3, 0), (1, 2)] {
                let possible = match noise.name() {
                    "masked" => held == 2 || clean == held,
                    "uniform" => held != 2,
                    _ => true,
                };
                for t in [0.02, 0.5, 0.98] {
                    let cell = NoisedCell { row: 0, clean, held, shift: 0.0 };
                    let terms = bound_terms(&logits, &LogitTransform::default(), noise, &cell, t);
                    let expected = by_definition(&p, noise, &cell, t);
                    if possible {
                        let name = noise.name();
                        assert!((terms.divergence - expected).abs() < 1e-6 * expected.max(1.0), "{name} {cell:?} {t}");
                    }
                    assert!((terms.log_clean - p[clean as usize].ln()).abs() < 1e-6);
                    assert!((terms.held - p[held as usize]).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_shift_takes_the_held_tokens_likelihood_out() {
        let logits = [0.6f32.ln(), 0.4f32.ln()];
        let noise = Uniform { schedule: Linear, alphabet: Alphabet { vocabulary: 2, without: None } };
        let cell = NoisedCell { row: 0, clean: 1, held: 0, shift: -(1.5f64.ln()) };
        let terms = bound_terms(&logits, &LogitTransform::default(), &noise, &cell, 0.5);
        assert!((terms.held - 0.5).abs() < 1e-6);
    }
}
