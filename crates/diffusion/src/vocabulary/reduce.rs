//! The pass over one row of V logits: softmax, entropy, argmax, runner-up, an exact draw, and what the held token has.

use super::filter::Cut;
use super::race::{Draw, Race};
use super::row::Row;
use crate::canvas::Token;
use crate::contract::{LogitTransform, Statistics};
use crate::prediction::Proposal;

/// Reduces one row of V logits to a proposal for a cell that holds `held`. Banned tokens have probability zero.
pub fn reduce(logits: &[f32], transform: &LogitTransform, draw: Draw<'_>, held: Option<Token>) -> Proposal {
    let row = Row::new(logits, transform);
    let (mut best, mut second) = ((f64::NEG_INFINITY, 0usize), (f64::NEG_INFINITY, 0usize));
    for (token, logit) in row.iter() {
        if logit > best.0 {
            (second, best) = (best, (logit, token));
        } else if logit > second.0 {
            second = (logit, token);
        }
    }
    let cut = Cut::new(&row, best.0, transform);
    let temperature = transform.temperature;
    let transformed = transform.statistics == Statistics::Transformed;
    // The temperature of the statistics, and whether they see what top-k and top-p left.
    let heat = if transformed && temperature > 0.0 { temperature } else { 1.0 };
    let counted = |token, logit| !transformed || cut.is_none_or(|cut| cut.keeps(token, logit));
    let mut race = Race::new();
    let (mut sum, mut weighted) = (0.0f64, 0.0f64);
    for (token, logit) in row.iter() {
        let shifted = logit - best.0;
        let weight = (shifted / heat).exp();
        if counted(token, logit) {
            sum += weight;
            if weight > 0.0 {
                weighted += weight * (shifted / heat);
            }
        }
        if temperature > 0.0 && cut.is_none_or(|cut| cut.keeps(token, logit)) {
            race.enter(draw, token, shifted / temperature, (temperature <= heat).then_some(weight));
        }
    }
    let token = match draw {
        Draw::Argmax => best.1,
        _ if temperature == 0.0 => best.1,
        _ => race.winner.unwrap_or(best.1),
    };
    let log_sum = sum.ln();
    let probability = |token: usize| {
        let logit = row.logit(token);
        if counted(token, logit) { ((logit - best.0) / heat - log_sum).exp() } else { 0.0 }
    };
    let runner_up = if counted(second.1, second.0) { ((second.0 - best.0) / heat).exp() } else { 0.0 };
    Proposal {
        token: token as Token,
        probability: probability(token),
        entropy: (log_sum - weighted / sum).max(0.0),
        margin: (1.0 - runner_up) / sum,
        best: best.1 as Token,
        best_probability: 1.0 / sum,
        held: held.map_or(0.0, |held| if (held as usize) < logits.len() { probability(held as usize) } else { 0.0 }),
    }
}

/// ln of the softmax of one row at `token`, at temperature 1 and without top-k and top-p; banned tokens have
/// probability zero.
pub fn log_probability(logits: &[f32], transform: &LogitTransform, token: Token) -> f64 {
    let row = Row::new(logits, transform);
    let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|(_, logit)| (logit - best).exp()).sum();
    row.logit(token as usize) - best - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;
    use crate::vocabulary::class_stats;

    fn transform(temperature: f64, banned: &[Token]) -> LogitTransform {
        LogitTransform { temperature, banned: banned.to_vec(), ..LogitTransform::default() }
    }

    #[test]
    fn statistics_of_a_small_row() {
        let logits = [0.5f32.ln(), 0.25f32.ln(), 0.25f32.ln(), 9.0];
        let proposal = reduce(&logits, &transform(0.0, &[3]), Draw::Argmax, None);
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
                counts[reduce(&logits, &transform(temperature, &[]), draw, None).token as usize] += 1.0;
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
        assert_eq!((stats[1].entropy, stats[1].log_second), (0.0, f64::NEG_INFINITY));
        let [a, b] = [0.0, 2.0].map(|logit: f64| logit.exp() / (1.0 + 2f64.exp()));
        assert!((stats[0].entropy + a * a.ln() + b * b.ln()).abs() < 1e-12);
        assert!((stats[0].log_second - stats[0].log_best + 2.0).abs() < 1e-12);
    }

    /// What top-k leaves out is not drawn where anything else can be, but no class becomes impossible.
    #[test]
    fn filters_leave_every_class_possible() {
        let logits = [0.0f32, 1.0, 2.0, 0.5];
        let top = LogitTransform { top_k: 1, ..LogitTransform::default() };
        let stats = class_stats(&logits, &top, &[0, 1, 0, 1], 2, 5);
        assert_eq!(stats[0].drawn, 2);
        assert!(stats[0].log_sum > -1e-9 && stats[1].log_sum < -35.0 && stats[1].log_sum > -50.0);
    }

    #[test]
    fn classes_are_tempered() {
        let logits = [0.0f32, 1.0, 2.0, 0.5];
        let stats = class_stats(&logits, &transform(0.5, &[]), &[0, 1, 0, 1], 2, 5);
        let weights = logits.map(|logit| (2.0 * f64::from(logit)).exp());
        let total: f64 = weights.iter().sum();
        assert!((stats[0].log_sum - ((weights[0] + weights[2]) / total).ln()).abs() < 1e-12);
    }

    #[test]
    fn extreme_logits_neither_overflow_nor_underflow() {
        let logits = [3000.0f32, -3000.0, f32::NEG_INFINITY];
        let proposal = reduce(&logits, &transform(1.0, &[]), Draw::Key(3), Some(0));
        assert_eq!(proposal.token, 0);
        assert!((proposal.probability - 1.0).abs() < 1e-12 && proposal.entropy.abs() < 1e-12);
    }
}
