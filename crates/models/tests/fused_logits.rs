//! The fused pass says what the float64 reference says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm_diffusion::noise::{Alphabet, Noise, Uniform};
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::rng::stream;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::vocabulary::{Draw, NoisedCell};
use lldm_diffusion::{Compat, LogitTransform, Logits, PosteriorMix, Prediction, Proposal, Statistics, Token};
use lldm_kernels::vocab;
use lldm_models::FusedLogits;

const SIZES: [usize; 12] = [1, 2, 5, 16, 17, 63, 65, 512, 777, 2048, 2049, 4999];
const ROWS: usize = 3;

/// Choices of a counter.
struct Source(u64);

impl Source {
    fn below(&mut self, limit: usize) -> usize {
        self.0 += 1;
        (stream(5, self.0) % limit as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        self.0 += 1;
        ((stream(6, self.0) >> 12) as f64 + 0.5) * 2f64.powi(-52)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn tokens(&mut self, count: usize, vocabulary: usize) -> Vec<Token> {
        // Some twice, some beyond V.
        (0..count).map(|_| self.below(vocabulary + 2) as Token).collect()
    }
}

/// Rows with ties, holes, steep and flat ones.
fn values(source: &mut Source, vocabulary: usize) -> Vec<f32> {
    let mut values = Vec::new();
    for _ in 0..ROWS {
        let (spread, middle) = (source.one_of(&[0.0, 0.2, 2.0, 9.0, 300.0]), source.one_of(&[0.0, 20.0, -5000.0]));
        let (ties, holes) = (source.below(3) == 0, source.below(3) == 0);
        for _ in 0..vocabulary {
            let logit = middle + spread * ((0..4).map(|_| source.uniform()).sum::<f64>() - 2.0) as f32;
            let logit = if ties { (logit * 2.0).round() / 2.0 } else { logit };
            // No negative zero: the reference sorts it behind the positive one.
            values.push(if holes && source.below(5) == 0 { f32::NEG_INFINITY } else { logit + 0.0 });
        }
    }
    values
}

fn transform(source: &mut Source, vocabulary: usize) -> LogitTransform {
    let changes = source.one_of(&[0, 0, 1, 40]);
    let banned = source.tokens(changes / 2, vocabulary);
    let seen = source.tokens(changes, vocabulary);
    let bias = source.tokens(changes, vocabulary).into_iter().map(|token| (token, source.uniform() as f32 * 4.0 - 2.0));
    LogitTransform {
        bias: bias.collect(),
        temperature: source.one_of(&[0.0, 0.3, 1.0, 1.0, 1.4, 5.0]),
        top_k: source.one_of(&[0, 0, 1, 3, 80, 9000]),
        top_p: source.one_of(&[1.0, 1.0, 0.05, 0.5, 0.9, 0.99]),
        repetition_penalty: source.one_of(&[1.0, 1.2]),
        banned,
        seen,
        statistics: source.one_of(&[Statistics::Plain, Statistics::Transformed]),
        compat: source.one_of(&[Compat::Exact, Compat::Reference]),
    }
}

/// Both, over the same logits.
fn both(source: &mut Source, vocabulary: usize) -> (FusedLogits, Logits) {
    let values = values(source, vocabulary);
    let mut capped = values.clone();
    let fused = FusedLogits::new(values, vocabulary).unwrap();
    if source.below(3) > 0 {
        return (fused, Logits::new(capped, vocabulary).unwrap());
    }
    vocab::soft_cap_in_place(&mut capped, 30.0);
    (fused.with_soft_cap(30.0).unwrap(), Logits::new(capped, vocabulary).unwrap())
}

fn near(found: f64, expected: f64) -> bool {
    found == expected
        || (found.is_nan() && expected.is_nan())
        || (found - expected).abs() < 1e-6 * expected.abs().max(1.0)
}

fn assert_same(found: &Proposal, expected: &Proposal, what: &str) {
    assert_eq!((found.token, found.best), (expected.token, expected.best), "{what}");
    let numbers = |proposal: &Proposal| {
        let Proposal { probability, entropy, margin, best_probability, held, .. } = *proposal;
        [probability, entropy, margin, best_probability, held]
    };
    let pairs = numbers(found).into_iter().zip(numbers(expected));
    assert!(pairs.clone().all(|(found, expected)| near(found, expected)), "{what}: {found:?} {expected:?}");
}

#[test]
fn the_streams_are_the_same() {
    for key in [0, 1, u64::MAX, 0x0123_4567_89AB_CDEF] {
        for token in [0, 1, 2, 262_143, u64::from(u32::MAX)] {
            assert_eq!(vocab::stream(key, token), stream(key, token));
        }
    }
}

/// All settings at once. Statistics of what top-k and top-p leave agree only where the same tokens are left.
#[test]
fn proposals_are_those_of_the_reference() {
    let mut source = Source(0);
    for case in 0..2400 {
        let vocabulary = SIZES[case % SIZES.len()];
        let (fused, logits) = both(&mut source, vocabulary);
        let transform = transform(&mut source, vocabulary);
        let uniforms: Vec<_> = (0..vocabulary).map(|_| source.uniform()).collect();
        let requests: Vec<_> = (0..ROWS)
            .map(|at| RowRequest {
                row: ROWS - 1 - at,
                draw: match source.below(8) {
                    0 => Draw::Argmax,
                    1 => Draw::Uniforms(&uniforms),
                    _ => Draw::Key(stream(8, (case * ROWS + at) as u64)),
                },
                held: Some(source.below(vocabulary + 2) as Token).filter(|token| token % 3 > 0),
            })
            .collect();
        let found = fused.propose(&requests, &transform).unwrap();
        let expected = logits.propose(&requests, &transform).unwrap();
        assert_eq!(found.len(), ROWS);
        for (found, expected) in found.iter().zip(&expected) {
            assert_same(found, expected, &format!("case {case}, V {vocabulary}, {transform:?}"));
        }
    }
}

#[test]
fn class_statistics_are_those_of_the_reference() {
    let mut source = Source(1);
    for case in 0..600 {
        let vocabulary = SIZES[case % SIZES.len()];
        let (fused, logits) = both(&mut source, vocabulary);
        let transform = transform(&mut source, vocabulary);
        let classes = source.one_of(&[1, 3, 60]);
        let class_of: Vec<_> = (0..vocabulary).map(|_| source.below(classes) as u16).collect();
        let keys: Vec<_> = (0..ROWS).rev().map(|row| (row, stream(9, (case * ROWS + row) as u64))).collect();
        let found = fused.class_stats(&class_of, classes, &keys, &transform).unwrap();
        let expected = logits.class_stats(&class_of, classes, &keys, &transform).unwrap();
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!(near(found.log_sum, expected.log_sum), "{found:?} {expected:?}");
            assert!(near(found.log_best, expected.log_best), "{found:?} {expected:?}");
            assert!(near(found.log_second, expected.log_second), "{found:?} {expected:?}");
            assert!(near(found.log_drawn, expected.log_drawn), "{found:?} {expected:?}");
            assert!((found.entropy - expected.entropy).abs() < 1e-5, "{found:?} {expected:?}");
            assert_eq!((found.best, found.drawn), (expected.best, expected.drawn), "case {case}");
        }
        assert_eq!(found.len(), expected.len());
    }
}

#[test]
fn likelihoods_are_those_of_the_reference() {
    let mut source = Source(2);
    for case in 0..200 {
        let vocabulary = SIZES[case % SIZES.len()];
        let (fused, logits) = both(&mut source, vocabulary);
        let transform = transform(&mut source, vocabulary);
        let targets: Vec<_> = (0..9).map(|i| (i / 2 % ROWS, source.below(vocabulary) as Token)).collect();
        let found = fused.log_probabilities(&targets, &transform).unwrap();
        let expected = logits.log_probabilities(&targets, &transform).unwrap();
        let same =
            |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12 * b.abs().max(1.0);
        assert!(found.iter().zip(&expected).all(same), "{found:?} {expected:?}");

        let alphabet = Alphabet { vocabulary, without: None };
        let noise = Uniform { schedule: Linear, alphabet };
        let cell = |(row, clean): &(usize, Token)| NoisedCell { row: *row, clean: *clean, held: 0, shift: -0.5 };
        let cells: Vec<_> = targets.iter().map(cell).collect();
        let terms = |prediction: &dyn Prediction| {
            let terms = prediction.bound_terms(&cells, &noise as &dyn Noise, 0.4, &transform).unwrap();
            format!("{terms:?}")
        };
        assert_eq!(terms(&fused), terms(&logits));
    }
}

/// From its own kind and from plain logits, capped or not.
#[test]
fn what_is_away_from_another_is_that_of_the_reference() {
    let mut source = Source(3);
    for case in 0..60 {
        let vocabulary = SIZES[case % SIZES.len()];
        let ((fused, logits), (other, plain)) = (both(&mut source, vocabulary), both(&mut source, vocabulary));
        let expected = logits.away_from(&plain, 1.5).unwrap();
        let expected = expected.as_any().downcast_ref::<Logits>().unwrap();
        for other in [&other as &dyn Prediction, &plain] {
            let away = fused.away_from(other, 1.5).unwrap();
            let away = away.as_any().downcast_ref::<FusedLogits>().unwrap();
            assert_eq!(away, &FusedLogits::new(expected.values().to_vec(), vocabulary).unwrap());
        }
    }
    let (fused, _) = both(&mut source, 5);
    let (other, _) = both(&mut source, 16);
    assert!(fused.away_from(&other, 1.0).is_err());
}

/// Against its own kind and against plain logits, capped or not.
#[test]
fn mixed_posteriors_are_those_of_the_reference() {
    let mut source = Source(4);
    for case in 0..60 {
        let vocabulary = SIZES[case % SIZES.len()];
        let ((fused, logits), (other, plain)) = (both(&mut source, vocabulary), both(&mut source, vocabulary));
        let held: Vec<_> = (0..ROWS).map(|_| source.below(vocabulary) as Token).collect();
        let noise = Uniform { schedule: Linear, alphabet: Alphabet { vocabulary, without: None } };
        let mix = PosteriorMix { scale: 1.5, noise: &noise, t: 0.8, s: 0.6, held: &held, weighs_held: case % 2 == 0 };
        let transform = LogitTransform { temperature: 0.7, ..transform(&mut source, vocabulary) };
        let request = |row| RowRequest { row, draw: Draw::Key(case as u64 * 10 + row as u64), held: Some(held[row]) };
        let requests: Vec<_> = (0..ROWS).map(request).collect();
        let expected = logits.propose_mixed(&plain, &mix, &requests, &transform).unwrap();
        for other in [&other as &dyn Prediction, &plain] {
            let found = fused.propose_mixed(other, &mix, &requests, &transform).unwrap();
            assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }
    let (fused, logits) = both(&mut source, 5);
    let (other, _) = both(&mut source, 16);
    let noise = Uniform { schedule: Linear, alphabet: Alphabet { vocabulary: 5, without: None } };
    let mix = PosteriorMix { scale: 1.5, noise: &noise, t: 0.8, s: 0.6, held: &[0; ROWS], weighs_held: false };
    assert!(fused.propose_mixed(&other, &mix, &[], &LogitTransform::default()).is_err());
    assert!(logits.propose_mixed(&other, &mix, &[], &LogitTransform::default()).is_err());
}

#[test]
fn strange_rows_and_settings_go_to_the_reference() {
    let values =
        [vec![f32::NEG_INFINITY; 3], vec![0.0, f32::INFINITY, 1.0], vec![f32::NAN; 3], vec![2.0, 3.0, 2.9]].concat();
    let (fused, logits) = (FusedLogits::new(values.clone(), 3).unwrap(), Logits::new(values, 3).unwrap());
    let requests: Vec<_> = (0..4).map(|row| RowRequest { row, draw: Draw::Key(row as u64), held: Some(1) }).collect();
    for temperature in [1.0, 0.0, 1e-40] {
        let transform = LogitTransform { temperature, ..LogitTransform::default() };
        let found = fused.propose(&requests, &transform).unwrap();
        let expected = logits.propose(&requests, &transform).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert_same(found, expected, &format!("{temperature}"));
        }
        assert!(found[..3].iter().all(|proposal| proposal.probability.is_nan()) && found[3].best == 1);
        let stats = |prediction: &dyn Prediction| {
            format!("{:?}", prediction.class_stats(&[0, 0, 1], 2, &[(0, 1), (1, 2), (2, 3)], &transform).unwrap())
        };
        assert_eq!(stats(&fused), stats(&logits));
    }
}

#[test]
fn mistakes_are_the_contracts_errors() {
    let fused = FusedLogits::new(vec![0.0; 6], 3).unwrap();
    let message = |error: lldm_diffusion::Error| error.to_string();
    assert!(message(FusedLogits::new(vec![0.0; 7], 3).unwrap_err()).contains("7 logits"));
    assert!(message(fused.clone().with_soft_cap(0.0).unwrap_err()).contains("capped at 0"));
    let plain = LogitTransform::default();
    assert!(fused.log_probabilities(&[(0, 3)], &plain).is_err());
    assert!(message(fused.class_stats(&[0; 2], 1, &[(0, 0)], &plain).unwrap_err()).contains("class map of 2"));
    assert!(message(fused.class_stats(&[0; 3], 1, &[(2, 0)], &plain).unwrap_err()).contains("a prediction of 2 rows"));
    let hot = LogitTransform { temperature: -1.0, ..plain };
    assert!(message(fused.propose(&[], &hot).unwrap_err()).contains("temperature"));
}
