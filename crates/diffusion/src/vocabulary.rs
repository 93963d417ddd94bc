//! The pass over one row of V logits: softmax, entropy, argmax, runner-up, and an exact draw.
//!
//! Draws are an exponential race: with e_v ~ Exp(1), the v that minimises e_v / p_v^(1/T) is a draw from softmax(l / T).
//! It is the Gumbel-max trick (Gumbel noise is -ln e) in float64 on 64-bit uniforms: float32 noise truncates the tail
//! and so lowers the temperature in secret (Zheng et al. 2024, arXiv 2409.02908).

use crate::canvas::Token;
use crate::contract::LogitTransform;
use crate::prediction::Proposal;
use crate::rng::{open_unit, stream};

/// How the token of a row is chosen.
#[derive(Clone, Copy, Debug)]
pub enum Draw<'a> {
    /// The most probable token; the lower id wins a tie.
    Argmax,
    /// A draw at the transform's temperature, from the stream that `key` starts. Temperature 0 is the argmax.
    Key(u64),
    /// A draw at the transform's temperature with given uniforms in (0, 1), one per vocabulary entry: replays a
    /// reference implementation.
    Uniforms(&'a [f64]),
}

/// Per class of a token partition: the statistics that a constraint works on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassStat {
    /// ln of the summed probability of the class.
    pub log_sum: f64,
    /// The most probable token of the class.
    pub best: Token,
    /// Its log probability.
    pub log_best: f64,
    /// An exact draw of a token given the class.
    pub drawn: Token,
}

/// Reduces one row of V logits to a proposal. Banned tokens have probability zero.
pub fn reduce(logits: &[f32], transform: &LogitTransform, draw: Draw<'_>) -> Proposal {
    let row = Row::new(logits, transform);
    let (mut best, mut second) = ((f64::NEG_INFINITY, 0usize), f64::NEG_INFINITY);
    for (token, logit) in row.iter() {
        if logit > best.0 {
            (second, best) = (best.0, (logit, token));
        } else if logit > second {
            second = logit;
        }
    }
    let temperature = transform.temperature;
    let mut race = Race::new();
    let (mut sum, mut weighted) = (0.0f64, 0.0f64);
    for (token, logit) in row.iter() {
        let shifted = logit - best.0;
        let weight = shifted.exp();
        sum += weight;
        if weight > 0.0 {
            weighted += weight * shifted;
        }
        if temperature > 0.0 {
            race.enter(draw, token, shifted, weight, temperature);
        }
    }
    let token = match draw {
        Draw::Argmax => best.1,
        _ if temperature == 0.0 => best.1,
        _ => race.winner.unwrap_or(best.1),
    };
    let log_sum = sum.ln();
    Proposal {
        token: token as Token,
        probability: (row.logit(token) - best.0 - log_sum).exp(),
        entropy: (log_sum - weighted / sum).max(0.0),
        margin: (1.0 - (second - best.0).exp()) / sum,
    }
}

/// ln of the softmax of one row at `token`; banned tokens have probability zero.
pub fn log_probability(logits: &[f32], transform: &LogitTransform, token: Token) -> f64 {
    let row = Row::new(logits, transform);
    let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|(_, logit)| (logit - best).exp()).sum();
    row.logit(token as usize) - best - sum.ln()
}

/// The class statistics of one row: `class_of` maps each of the V tokens to a class below `classes`. A class without
/// any admissible token has `log_sum` minus infinity.
pub fn class_stats(
    logits: &[f32],
    transform: &LogitTransform,
    class_of: &[u16],
    classes: usize,
    key: u64,
) -> Vec<ClassStat> {
    let row = Row::new(logits, transform);
    let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let mut stats = vec![ClassStat { log_sum: 0.0, best: 0, log_best: f64::NEG_INFINITY, drawn: 0 }; classes];
    let mut races = vec![Race::new(); classes];
    let mut total = 0.0;
    for (token, logit) in row.iter() {
        let class = usize::from(class_of[token]);
        let shifted = logit - best;
        let weight = shifted.exp();
        total += weight;
        let stat = &mut stats[class];
        stat.log_sum += weight;
        if shifted > stat.log_best {
            stat.log_best = shifted;
            stat.best = token as Token;
        }
        let temperature = if transform.temperature > 0.0 { transform.temperature } else { 1.0 };
        races[class].enter(Draw::Key(key), token, shifted, weight, temperature);
    }
    for (stat, race) in stats.iter_mut().zip(races) {
        stat.log_sum = stat.log_sum.ln() - total.ln();
        stat.log_best -= total.ln();
        stat.drawn = race.winner.map_or(stat.best, |token| token as Token);
    }
    stats
}

/// A row of logits seen through bans and biases.
struct Row<'a> {
    logits: &'a [f32],
    transform: &'a LogitTransform,
    /// Whether each token is banned; empty where none is.
    banned: Vec<bool>,
}

impl<'a> Row<'a> {
    fn new(logits: &'a [f32], transform: &'a LogitTransform) -> Self {
        let mut banned = Vec::new();
        if !transform.banned.is_empty() {
            banned = vec![false; logits.len()];
            for token in &transform.banned {
                if let Some(entry) = banned.get_mut(*token as usize) {
                    *entry = true;
                }
            }
        }
        Self { logits, transform, banned }
    }

    fn logit(&self, token: usize) -> f64 {
        if self.banned.get(token) == Some(&true) {
            return f64::NEG_INFINITY;
        }
        let bias = self.transform.bias.iter().find(|(at, _)| *at as usize == token).map_or(0.0, |(_, bias)| *bias);
        f64::from(self.logits[token]) + f64::from(bias)
    }

    /// All tokens that are not banned, with their logits.
    fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        let plain = self.transform.banned.is_empty() && self.transform.bias.is_empty();
        self.logits.iter().enumerate().filter_map(move |(token, logit)| {
            let logit = if plain { f64::from(*logit) } else { self.logit(token) };
            (logit > f64::NEG_INFINITY).then_some((token, logit))
        })
    }
}

/// The exponential race among the tokens of a row.
#[derive(Clone, Copy)]
struct Race {
    /// ln of the best finishing time so far, and that time itself.
    log_best: f64,
    best: f64,
    winner: Option<usize>,
}

impl Race {
    fn new() -> Self {
        Self { log_best: f64::INFINITY, best: f64::INFINITY, winner: None }
    }

    /// Enters a token with weight exp(shifted); its time is e / weight^(1/T).
    fn enter(&mut self, draw: Draw<'_>, token: usize, shifted: f64, weight: f64, temperature: f64) {
        let exponential = match draw {
            Draw::Argmax => return,
            Draw::Key(key) => {
                let bits = stream(key, token as u64);
                if temperature == 1.0 {
                    // -ln(1 - v) >= v: most entries lose without a logarithm.
                    let v = (bits as f64 + 0.5) * 2f64.powi(-64);
                    if v >= self.best * weight {
                        return;
                    }
                    -(-v).ln_1p()
                } else {
                    -open_unit(bits).ln()
                }
            }
            Draw::Uniforms(uniforms) => -uniforms[token].ln(),
        };
        let log_time = exponential.ln() - shifted / temperature;
        if log_time < self.log_best {
            *self = Self { log_best: log_time, best: log_time.exp(), winner: Some(token) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transform(temperature: f64, banned: &[Token]) -> LogitTransform {
        LogitTransform { temperature, banned: banned.to_vec(), ..LogitTransform::default() }
    }

    #[test]
    fn statistics_of_a_small_row() {
        let logits = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln(), 9.0];
        let proposal = reduce(&logits, &transform(0.0, &[3]), Draw::Argmax);
        assert_eq!(proposal.token, 0);
        assert!((proposal.probability - 0.5).abs() < 1e-7);
        assert!((proposal.margin - 0.25).abs() < 1e-7);
        assert!((proposal.entropy - 1.5 * 2f64.ln()).abs() < 1e-6);
        let bias = LogitTransform { bias: vec![(1, 2f32.ln())], banned: vec![3], ..LogitTransform::default() };
        assert!((log_probability(&logits, &bias, 1) - 0.4f64.ln()).abs() < 1e-6);
    }

    /// Draws follow softmax(l / T): a chi-squared statistic with 4 degrees of freedom stays below its 1e-6 quantile.
    #[test]
    fn draws_follow_the_tempered_softmax() {
        let logits = [0.0f32, 1.0, -1.0, 2.0, 0.3];
        for temperature in [0.5, 1.0, 1.7] {
            let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut counts = [0f64; 5];
            let n = 20_000;
            for seed in 0..n {
                let draw = Draw::Key(stream(77, seed));
                counts[reduce(&logits, &transform(temperature, &[]), draw).token as usize] += 1.0;
            }
            let chi: f64 = counts
                .iter()
                .zip(&weights)
                .map(|(count, weight)| {
                    let expected = weight / total * n as f64;
                    (count - expected).powi(2) / expected
                })
                .sum();
            assert!(chi < 34.0, "chi-squared {chi} at temperature {temperature}");
        }
    }

    #[test]
    fn classes_partition_the_row() {
        let logits = [0.0f32, 1.0, 2.0, 0.5];
        let stats = class_stats(&logits, &transform(1.0, &[3]), &[0, 1, 0, 1], 2, 5);
        let sum: f64 = stats.iter().map(|stat| stat.log_sum.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert_eq!(stats[0].best, 2);
        assert_eq!((stats[1].best, stats[1].drawn), (1, 1));
        assert!((stats[1].log_sum - log_probability(&logits, &transform(1.0, &[3]), 1)).abs() < 1e-12);
    }

    #[test]
    fn extreme_logits_neither_overflow_nor_underflow() {
        let logits = [3000.0f32, -3000.0, f32::NEG_INFINITY];
        let proposal = reduce(&logits, &transform(1.0, &[]), Draw::Key(3));
        assert_eq!(proposal.token, 0);
        assert!((proposal.probability - 1.0).abs() < 1e-12 && proposal.entropy.abs() < 1e-12);
    }
}
