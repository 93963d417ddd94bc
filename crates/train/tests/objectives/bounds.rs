//! The closed form and the score entropy on a toy whose likelihood is known: every text, every noised text, and the time
//! integrated.

use lldm_diffusion::noise::{Alphabet, Hybrid, Masked, Uniform};
use lldm_diffusion::rng::Purpose;
use lldm_diffusion::schedule::{Cosine, Linear, LogLinear};
use lldm_diffusion::{Noise, Rng, Token};
use lldm_train::objective::closed_form::{divergence, reconstruction_nats};
use lldm_train::objective::{NoisedCell, T_MAX, T_MIN, score_entropy, score_shift};

use crate::support::{all_texts, integral};

/// Three words and the mask.
const WORDS: usize = 3;
const MASK: Token = 3;
const VOCABULARY: usize = 4;

/// The logits of the clean token of every cell, from the noised text and the time.
type Network<'a> = dyn Fn(&[Token], f64) -> Vec<Vec<f64>> + 'a;

fn noises() -> Vec<Box<dyn Noise>> {
    let alphabet = Alphabet { vocabulary: VOCABULARY, without: Some(MASK) };
    vec![
        Box::new(Uniform { schedule: Linear, alphabet }),
        Box::new(Uniform { schedule: Cosine, alphabet }),
        Box::new(Masked { schedule: LogLinear::default(), mask: MASK }),
        Box::new(Hybrid::new(0.3, VOCABULARY, MASK)),
    ]
}

/// A distribution over all texts of a length.
fn table(length: usize) -> Vec<(Vec<Token>, f64)> {
    let rng = Rng::new(4, 0).at(0, 0);
    let weight = |at: usize| (4.0 * rng.uniform(at, Purpose::Token)).exp();
    let total: f64 = (0..WORDS.pow(length as u32)).map(weight).sum();
    let texts = all_texts(WORDS as Token, length).into_iter().enumerate();
    texts.map(|(at, text)| (text, weight(at) / total)).collect()
}

/// q_t(z | x) of one cell.
fn seen(noise: &dyn Noise, z: Token, x: Token, t: f64) -> f64 {
    let marginal = noise.marginal(t);
    noise.noise_at(marginal, z) + if z == x { marginal.alpha } else { 0.0 }
}

/// The expectation over every noised text.
fn expectation(noise: &dyn Noise, text: &[Token], t: f64, value: impl Fn(&[Token]) -> f64) -> f64 {
    let chance = |z: &[Token]| -> f64 { z.iter().zip(text).map(|(z, x)| seen(noise, *z, *x, t)).product() };
    let states = all_texts(VOCABULARY as Token, text.len());
    states.iter().map(|z| (z, chance(z))).filter(|(_, chance)| *chance > 0.0).map(|(z, chance)| chance * value(z)).sum()
}

/// The whole bound of -ln p(text): the integral, the reconstruction and the prior.
fn bound(noise: &dyn Noise, network: &Network<'_>, text: &[Token]) -> f64 {
    let over_cells = |z: &[Token], t: f64, value: &dyn Fn(&[f64], &NoisedCell) -> f64| -> f64 {
        let cells = network(z, t).into_iter().zip(z).zip(text);
        cells.map(|((logits, held), clean)| value(&logits, &NoisedCell { clean: *clean, held: *held, time: t })).sum()
    };
    let path = integral(120, |t| {
        expectation(noise, text, t, |z| {
            over_cells(z, t, &|logits, cell| match noise.bound_weight(cell.held, cell.clean, t) {
                0.0 => 0.0,
                weight => weight * divergence(noise, logits, cell).nats(),
            })
        })
    });
    let start = expectation(noise, text, T_MIN, |z| {
        over_cells(z, T_MIN, &|logits, cell| reconstruction_nats(noise, logits, cell))
    });
    path + start + text.len() as f64 * noise.prior_nats(VOCABULARY, T_MAX)
}

/// ln p(x_i | z without z_i) for every cell: what a perfect network answers.
fn perfect(noise: &dyn Noise, table: &[(Vec<Token>, f64)], z: &[Token], t: f64) -> Vec<Vec<f64>> {
    let cell = |at: usize| {
        let mut sums = [0.0; VOCABULARY];
        for (text, p) in table {
            let others = (0..z.len()).filter(|other| *other != at);
            sums[text[at] as usize] += p * others.map(|k| seen(noise, z[k], text[k], t)).product::<f64>();
        }
        sums.iter().map(|sum| sum.ln()).collect()
    };
    (0..z.len()).map(cell).collect()
}

/// Nonsense that depends on everything it may depend on.
fn nonsense(z: &[Token], t: f64) -> Vec<Vec<f64>> {
    let number = z.iter().fold(0, |number, token| number * VOCABULARY + *token as usize);
    let rng = Rng::new(6, number as u64).at(0, 0);
    let logit = |at: usize| (2.0 + t) * (rng.uniform(at, Purpose::Token) - 0.5);
    (0..z.len()).map(|cell| (0..VOCABULARY).map(|token| logit(cell * VOCABULARY + token)).collect()).collect()
}

#[test]
fn a_perfect_network_has_the_exact_likelihood() {
    let table = table(3);
    for noise in noises() {
        let network = |z: &[Token], t: f64| perfect(noise.as_ref(), &table, z, t);
        let mut slack = 0.0;
        for (text, p) in &table {
            let found = bound(noise.as_ref(), &network, text);
            // The model differs from the table by what is done at the ends, where cells are drawn one by one: rare texts gain
            // a little.
            assert!(((-found).exp() - p).abs() < 1e-3, "{} {text:?}: {found} and {}", noise.name(), -p.ln());
            slack += p * (found + p.ln());
        }
        assert!((0.0..0.01).contains(&slack), "{}: {slack} nats above the entropy", noise.name());
    }
}

/// The model behind a bound is a distribution: exp(-bound) adds up to at most 1.
#[test]
fn the_bound_of_any_network_is_one() {
    for noise in noises() {
        let texts = all_texts(WORDS as Token, 2);
        let total: f64 = texts.iter().map(|text| (-bound(noise.as_ref(), &nonsense, text)).exp()).sum();
        assert!(total < 1.0 && total > 0.3, "{}: {total}", noise.name());
        // A bound, and no loose one: without its two other terms it would be none for some network.
        let flat = |z: &[Token], _: f64| vec![vec![0.0; VOCABULARY]; z.len()];
        let flat: f64 = texts.iter().map(|text| (-bound(noise.as_ref(), &flat, text)).exp()).sum();
        assert!((0.99..=1.0 + 1e-7).contains(&flat), "{}: {flat}", noise.name());
    }
}

#[test]
fn a_block_of_one_is_exact_where_the_network_knows_its_cell() {
    let p = [0.7f64, 0.25, 0.05];
    let network = |_: &[Token], _: f64| vec![p.iter().map(|p| p.ln()).chain([9.0]).collect()];
    for noise in noises() {
        let mut mean = 0.0;
        for (token, p) in p.iter().enumerate() {
            let slack = bound(noise.as_ref(), &network, &[token as Token]) + p.ln();
            // The rarest token gains from the uniform draw that the process begins with.
            assert!(slack.abs() < 1e-2, "{} {token}: {slack}", noise.name());
            mean += p * slack;
        }
        assert!((-1e-7..1e-3).contains(&mean), "{}: {mean}", noise.name());
    }
}

/// A network that knows no more than what each cell is given the clean blocks before it: its bound in blocks falls to the
/// entropy as they get smaller.
#[test]
fn smaller_blocks_are_tighter() {
    let table = table(3);
    let noise = &noises()[0];
    let entropy: f64 = table.iter().map(|(_, p)| -p * p.ln()).sum();
    let of_length = |block_length: usize| -> f64 {
        let text_bound = |text: &[Token]| -> f64 {
            let blocks = (0..3).step_by(block_length).map(|start| (start, (start + block_length).min(3)));
            let block = |(start, end): (usize, usize)| {
                let marginals: Vec<Vec<f64>> = (start..end)
                    .map(|at| {
                        let fits = |other: &[Token]| other[..start] == text[..start];
                        let mut sums = [0.0; VOCABULARY];
                        let known = table.iter().filter(|(other, _)| fits(other));
                        known.for_each(|(other, p)| sums[other[at] as usize] += p);
                        sums.iter().map(|sum| f64::ln(*sum)).collect()
                    })
                    .collect();
                bound(noise.as_ref(), &|_: &[Token], _: f64| marginals.clone(), &text[start..end])
            };
            blocks.map(block).sum()
        };
        table.iter().map(|(text, p)| p * text_bound(text)).sum()
    };
    let [whole, two, one] = [3, 2, 1].map(of_length);
    assert!(whole > two + 0.01 && two > one + 0.01, "{whole}, {two}, {one}");
    assert!((one - entropy).abs() < 1e-3, "{one} and {entropy}");
}

#[test]
fn hybrid_noise_without_uniform_draws_is_masked_noise() {
    let masked = Masked { schedule: Linear, mask: MASK };
    let hybrid = Hybrid::new(0.0, VOCABULARY, MASK);
    let logits = [0.3, -0.8, 1.1, 4.0];
    let total: f64 = logits[..WORDS].iter().map(|logit: &f64| logit.exp()).sum();
    for (clean, held, time) in [(0, MASK, 0.2), (2, MASK, 0.9), (1, 1, 0.5)] {
        let cell = NoisedCell { clean, held, time };
        let weights = [&masked as &dyn Noise, &hybrid].map(|noise| noise.bound_weight(held, clean, time));
        assert!((weights[0] - weights[1]).abs() < 1e-12 * weights[0].max(1.0));
        let nats = [&masked as &dyn Noise, &hybrid].map(|noise| divergence(noise, &logits, &cell).nats());
        assert!((nats[0] - nats[1]).abs() < 1e-12);
        let entropy = total.ln() - logits[clean as usize];
        let expected = if held == MASK { entropy / time } else { 0.0 };
        assert!((weights[0] * nats[0] - expected).abs() < 1e-12, "{cell:?}");
    }
}

/// With the scores of a marginal, score entropy is the closed form.
#[test]
fn score_entropy_is_the_closed_form_of_the_same_prediction() {
    for noise in noises().iter().filter(|noise| noise.name() != "hybrid") {
        for (clean, held, t) in [(0, 0, 0.3), (0, 2, 0.3), (1, MASK, 0.8), (2, 1, 0.95)] {
            if seen(noise.as_ref(), held, clean, t) == 0.0 || (noise.mask().is_none() && held == MASK) {
                continue;
            }
            let p = [0.2, 0.5, 0.3, 0.0];
            let marginal = noise.marginal(t);
            let theta = |z: Token| noise.noise_at(marginal, z) + marginal.alpha * p[z as usize];
            let shift = score_shift(noise.as_ref(), VOCABULARY, t);
            let outputs: Vec<f64> = (0..4).map(|z| (theta(z) / theta(held)).ln() - shift).collect();
            let cell = NoisedCell { clean, held, time: t };
            let found = score_entropy(noise.as_ref(), &outputs, &cell);
            let expected = match noise.bound_weight(held, clean, t) {
                0.0 => 0.0,
                weight => weight * divergence(noise.as_ref(), &p.map(f64::ln), &cell).nats(),
            };
            assert!(
                (found - expected).abs() < 1e-9 * expected.max(1.0),
                "{} {cell:?}: {found}, {expected}",
                noise.name()
            );
        }
    }
}
