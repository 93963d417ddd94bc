//! The pass over two rows of V logits that guidance by posteriors needs: D-CFG under uniform noise, Schiff et al. 2024 (arXiv
//! 2412.10193), section 3.1; reference: kuleshov-group/discrete-diffusion-guidance `diffusion.py` (`_cfg_denoise`).
//!
//! The posteriors q(x_s | x_t) that follow from the two predictions are mixed in logarithms and renormalised:
//! ln q_mixed = (1 + scale) ln q - scale ln q' + constant, so that the paper's gamma is 1 + scale. Given the token held, each is a
//! mixture a p(v) + b / N + c [v = held] whose numbers depend on s, t and p(held) alone, so one pass over both rows yields
//! the row that the next state is drawn from. Mixing the predictions before the posterior is something else.
//!
//! Not in the reference: the logit transform acts on both predictions, as it does without guidance; top-k and top-p cut the first
//! one alone, since what they leave out of the second would count as ruled out by it. What only the second one rules out is taken
//! as having the smallest probability there is.

use super::filter::Cut;
use super::race::{Draw, Race};
use super::row::Row;
use crate::canvas::Token;
use crate::contract::LogitTransform;
use crate::noise::Mixture;
use crate::prediction::{PosteriorMix, Proposal, RowRequest};

/// Reduces two rows of V logits to a proposal for what the cell holds after the step.
///
/// The temperature is that of both predictions and must be above 0; the mixture itself is drawn from as it is.
pub fn reduce_mixed(
    with: &[f32],
    without: &[f32],
    transform: &LogitTransform,
    mix: &PosteriorMix<'_>,
    request: &RowRequest<'_>,
) -> Proposal {
    let held = mix.held[request.row];
    let with = posterior(&clean(with, transform, true), mix, held);
    let without = posterior(&clean(without, transform, false), mix, held);
    let log = |(with, without): (&f64, &f64)| {
        let log = with.ln();
        if log > f64::NEG_INFINITY { log + mix.scale * (log - without.max(f64::MIN_POSITIVE).ln()) } else { log }
    };
    let logs: Vec<f64> = with.iter().zip(&without).map(log).collect();

    let possible = || logs.iter().copied().enumerate().filter(|(_, log)| *log > f64::NEG_INFINITY);
    let (mut best, mut second) = ((f64::NEG_INFINITY, 0usize), f64::NEG_INFINITY);
    for (token, log) in possible() {
        if log > best.0 {
            (second, best) = (best.0, (log, token));
        } else {
            second = second.max(log);
        }
    }
    let mut race = Race::new();
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (token, log) in possible() {
        let weight = (log - best.0).exp();
        sum += weight;
        if weight > 0.0 {
            weighted += weight * (log - best.0);
        }
        race.enter(request.draw, token, log - best.0, Some(weight));
    }
    let token = match request.draw {
        Draw::Argmax => best.1,
        Draw::Key(_) | Draw::Uniforms(_) => race.winner.unwrap_or(best.1),
    };
    let probability = |token: usize| logs.get(token).map_or(0.0, |log| (log - best.0).exp() / sum);
    Proposal {
        token: token as Token,
        probability: probability(token),
        entropy: (sum.ln() - weighted / sum).max(0.0),
        margin: (1.0 - (second - best.0).exp()) / sum,
        best: best.1 as Token,
        best_probability: 1.0 / sum,
        held: request.held.map_or(0.0, |held| probability(held as usize)),
    }
}

/// The V probabilities of a prediction through the transform, with or without top-k and top-p.
fn clean(logits: &[f32], transform: &LogitTransform, cuts: bool) -> Vec<f64> {
    let row = Row::new(logits, transform);
    let best = row.iter().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
    let cut = if cuts { Cut::new(&row, best, transform) } else { None };
    let mut clean = vec![0.0; logits.len()];
    for (token, logit) in row.iter().filter(|(token, logit)| cut.is_none_or(|cut| cut.keeps(*token, *logit))) {
        clean[token] = ((logit - best) / transform.temperature).exp();
    }
    let sum: f64 = clean.iter().sum();
    clean.iter_mut().for_each(|p| *p /= sum);
    clean
}

/// q(x_s | x_t = `held`) under a prediction of the clean token.
fn posterior(clean: &[f64], mix: &PosteriorMix<'_>, held: Token) -> Vec<f64> {
    let p = clean.get(held as usize).copied().unwrap_or(0.0);
    let reverse = |known: f64| mix.noise.reverse(held, known, mix.s, mix.t);
    let mixture = if mix.weighs_held {
        // The clean token that is drawn counts as known: the mean of its two kinds of steps.
        let (other, same) = (reverse(0.0), reverse(1.0));
        let keep = same.keep + same.draw - other.draw;
        Mixture { draw: other.draw, ..other.scaled(1.0 - p).plus(Mixture { keep, ..same }.scaled(p)) }
    } else {
        reverse(p)
    };
    mixture.probabilities(held, clean, mix.noise.mask(), mix.noise.alphabet())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::{Alphabet, Noise, Uniform};
    use crate::schedule::Linear;

    const WITH: [f32; 5] = [0.3, -0.7, 1.1, 0.2, f32::NEG_INFINITY];
    const WITHOUT: [f32; 5] = [0.9, 0.1, -0.4, 0.0, f32::NEG_INFINITY];

    fn noise() -> Uniform<Linear> {
        Uniform { schedule: Linear, alphabet: Alphabet { vocabulary: 5, without: Some(4) } }
    }

    fn mix<'a>(noise: &'a dyn Noise, scale: f64, weighs_held: bool) -> PosteriorMix<'a> {
        PosteriorMix { scale, noise, t: 0.7, s: 0.4, held: &[2], weighs_held }
    }

    fn mixed(mix: &PosteriorMix<'_>, transform: &LogitTransform) -> Vec<f64> {
        let ask = |token| RowRequest { row: 0, draw: Draw::Argmax, held: Some(token) };
        (0..5).map(|token| reduce_mixed(&WITH, &WITHOUT, transform, mix, &ask(token)).held).collect()
    }

    fn softmax(logits: &[f32]) -> Vec<f64> {
        let weights: Vec<_> = logits.iter().map(|logit| f64::from(*logit).exp()).collect();
        weights.iter().map(|weight| weight / weights.iter().sum::<f64>()).collect()
    }

    fn near(found: &[f64], wanted: &[f64]) {
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} for {wanted:?}");
    }

    #[test]
    fn the_mixture_is_that_of_the_definition() {
        let noise = noise();
        let [with, without] = [&WITH, &WITHOUT].map(|logits| noise.posterior(2, &softmax(logits), 0.4, 0.7));
        for scale in [-0.5, 0.0, 1.0, 2.5] {
            let weights: Vec<_> = with.iter().zip(&without).map(|(q, other)| q * (q / other).powf(scale)).collect();
            let total: f64 = weights[..4].iter().sum();
            let wanted: Vec<_> = weights[..4].iter().map(|weight| weight / total).chain([0.0]).collect();
            near(&mixed(&mix(&noise, scale, false), &LogitTransform::default()), &wanted);
        }
    }

    /// A prediction that weighs the token held: the mean over the clean token, each taken as known.
    #[test]
    fn a_clean_token_that_is_drawn_counts_as_known() {
        let noise = noise();
        let mut wanted = [0.0; 5];
        for (clean, p) in softmax(&WITH).into_iter().enumerate() {
            let known: Vec<_> = (0..5).map(|token| f64::from(u8::from(token == clean))).collect();
            let posterior = noise.posterior(2, &known, 0.4, 0.7);
            wanted.iter_mut().zip(posterior).for_each(|(sum, q)| *sum += p * q);
        }
        near(&mixed(&mix(&noise, 0.0, true), &LogitTransform::default()), &wanted);
    }

    /// Top-k leaves a token as likely as noise makes it, and the other prediction is not cut.
    #[test]
    fn filters_cut_the_first_prediction_alone() {
        let (noise, top) = (noise(), LogitTransform { top_k: 1, ..LogitTransform::default() });
        let with = noise.posterior(2, &[0.0, 0.0, 1.0, 0.0, 0.0], 0.4, 0.7);
        let without = noise.posterior(2, &softmax(&WITHOUT), 0.4, 0.7);
        let weights: Vec<_> = (0..4).map(|v| with[v] * with[v] / without[v]).collect();
        let total: f64 = weights.iter().sum();
        let wanted: Vec<_> = weights.iter().map(|weight| weight / total).chain([0.0]).collect();
        near(&mixed(&mix(&noise, 1.0, false), &top), &wanted);
    }

    #[test]
    fn draws_follow_the_mixture() {
        let noise = noise();
        let (mix, transform) = (mix(&noise, 1.5, false), LogitTransform::default());
        let wanted = mixed(&mix, &transform);
        let mut counts = [0.0; 5];
        for seed in 0..20_000 {
            let request = RowRequest { row: 0, draw: Draw::Key(crate::rng::stream(3, seed)), held: None };
            let proposal = reduce_mixed(&WITH, &WITHOUT, &transform, &mix, &request);
            counts[proposal.token as usize] += 1.0;
            assert!((proposal.probability - wanted[proposal.token as usize]).abs() < 1e-12);
        }
        let chi: f64 = (0..4).map(|v| (counts[v] - 20_000.0 * wanted[v]).powi(2) / (20_000.0 * wanted[v])).sum();
        assert!(chi < 31.0, "chi-squared {chi} with 3 degrees of freedom");
    }
}
