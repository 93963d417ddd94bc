//! The pass against a plain f64 oracle that sorts, on rows of every shape that is known to be hard.

use super::filter::filter;
use super::race::Race;
use super::soft_cap::soft_cap;
use super::top::top;
use super::transform::{Ranked, Row};
use super::walk::{Plan, walk};
use super::*;
use crate::check::on_threads;
use crate::simd::at_each_level;

/// Chunks, groups, blocks and lanes, each with a value more and less, and lengths between.
const SIZES: [usize; 20] =
    [1, 2, 3, 15, 16, 17, 63, 64, 65, 300, 511, 512, 513, 1000, 2047, 2048, 2049, 3333, 4096, 5003];

/// Numbers of a counter.
struct Source(u64);

impl Source {
    fn below(&mut self, limit: usize) -> usize {
        self.0 += 1;
        (stream(77, self.0) % limit as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        self.0 += 1;
        (stream(78, self.0) >> 11) as f64 * 2f64.powi(-53)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A row of V logits: of some spread about some middle, with ties, holes, numbers that are none, or all of them.
fn logits(source: &mut Source, vocabulary: usize) -> Vec<f32> {
    let spread = source.one_of(&[0.0, 0.1, 1.0, 3.0, 20.0, 400.0]);
    let middle = source.one_of(&[0.0, -30.0, 1e4]);
    let (ties, holes, strange) = (source.below(3) == 0, source.below(3) == 0, source.below(6) == 0);
    let mut row: Vec<f32> = (0..vocabulary)
        .map(|_| {
            let normal = (0..6).map(|_| source.uniform()).sum::<f64>() - 3.0;
            let logit = (middle + spread * normal) as f32;
            let logit = if ties { (logit * 4.0).round() / 4.0 } else { logit };
            if holes && source.below(4) == 0 { f32::NEG_INFINITY } else { logit }
        })
        .collect();
    if strange {
        for value in [f32::NAN, -f32::MAX, -1e30, f32::NEG_INFINITY] {
            let at = source.below(vocabulary);
            row[at] = value;
        }
    }
    let at = source.below(vocabulary);
    row[at] = middle as f32;
    row
}

fn changes(source: &mut Source, vocabulary: usize) -> Vec<Change> {
    let often = source.one_of(&[0, 0, 2, 10]);
    // Some are beyond V.
    let tokens = (0..vocabulary as u32 + 3).filter(|_| often > 0 && source.below(often) == 0).collect::<Vec<_>>();
    tokens
        .into_iter()
        .map(|token| Change {
            token,
            banned: source.below(3) == 0,
            penalised: source.below(2) == 0,
            bias: source.one_of(&[0.0, 1.5, -2.25, f32::NEG_INFINITY]),
        })
        .collect()
}

fn transform<'a>(source: &mut Source, changes: &'a [Change]) -> Transform<'a> {
    let p = source.uniform() as f32;
    Transform {
        soft_cap: source.one_of(&[None, None, Some(30.0)]),
        penalty: source.one_of(&[1.0, 1.3]),
        changes,
        temperature: source.one_of(&[0.0, 0.2, 0.7, 1.0, 1.0, 1.6, 30.0]),
        top_k: source.one_of(&[0, 0, 1, 2, 50, 600, 100_000]),
        top_p: source.one_of(&[1.0, 1.0, 1e-4, 0.3, 0.9, 0.999, f64::from(p).max(1e-6)]),
        before_crossing: source.below(2) == 0,
        drawn_statistics: source.below(2) == 0,
    }
}

/// All tokens with some probability, the most probable first.
fn ranked(row: &[f32], transform: &Transform<'_>) -> Vec<Ranked> {
    let mut tokens: Vec<_> = row
        .iter()
        .enumerate()
        .map(|(token, logit)| {
            let mut logit = f64::from(transform.soft_cap.map_or(*logit, |cap| soft_cap(*logit, cap)));
            if let Some(change) = transform.changes.iter().find(|change| change.token as usize == token) {
                if change.penalised {
                    logit = if logit > 0.0 { logit / transform.penalty } else { logit * transform.penalty };
                }
                logit = if change.banned { f64::NEG_INFINITY } else { logit + f64::from(change.bias) };
            }
            Ranked { token: token as u32, logit }
        })
        .filter(|token| token.logit > f64::NEG_INFINITY)
        .collect();
    tokens.sort_by(|a, b| b.logit.partial_cmp(&a.logit).expect("numbers").then(a.token.cmp(&b.token)));
    tokens
}

/// How many of the ranked tokens top-k and top-p keep.
fn kept(tokens: &[Ranked], transform: &Transform<'_>) -> usize {
    let count = if transform.top_k == 0 { tokens.len() } else { tokens.len().min(transform.top_k) };
    if transform.top_p == 1.0 {
        return count;
    }
    let temperature = if transform.temperature > 0.0 { transform.temperature } else { 1.0 };
    let weights: Vec<_> =
        tokens[..count].iter().map(|token| ((token.logit - tokens[0].logit) / temperature).exp()).collect();
    let wanted = transform.top_p * weights.iter().sum::<f64>();
    let mut sum = 0.0;
    let crossing = weights.iter().position(|weight| {
        sum += weight;
        if transform.before_crossing { sum > wanted } else { sum >= wanted }
    });
    crossing.map_or(count, |at| if transform.before_crossing { at.max(1) } else { at + 1 })
}

/// The winner of the whole race.
fn drawn(tokens: &[Ranked], key: u64, temperature: f64) -> u32 {
    let time = |token: &Ranked| {
        let v = (stream(key, u64::from(token.token)) as f64 + 0.5) * 2f64.powi(-64);
        (-(-v).ln_1p()).ln() - (token.logit - tokens[0].logit) / temperature
    };
    tokens.iter().min_by(|a, b| time(a).total_cmp(&time(b)).then(a.token.cmp(&b.token))).expect("a token").token
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

fn check_summary(found: &Summary, tokens: &[Ranked], request: &Request, transform: &Transform<'_>) {
    let kept = &tokens[..kept(tokens, transform)];
    let (counted, heat) = match transform.drawn_statistics {
        true => (kept, if transform.temperature > 0.0 { transform.temperature } else { 1.0 }),
        false => (tokens, 1.0),
    };
    let exponent = |token: &Ranked| (token.logit - tokens[0].logit) / heat;
    let sum: f64 = counted.iter().map(|token| exponent(token).exp()).sum();
    let weighted: f64 = counted
        .iter()
        .map(|token| (exponent(token).exp(), exponent(token)))
        .map(|(w, x)| if w > 0.0 { w * x } else { 0.0 })
        .sum();
    let probability =
        |token: u32| counted.iter().find(|other| other.token == token).map_or(0.0, |token| exponent(token).exp() / sum);
    let token = match request.key {
        Some(key) if transform.temperature > 0.0 => drawn(kept, key, transform.temperature),
        _ => tokens[0].token,
    };
    assert_eq!((found.max, found.best), (tokens[0].logit, tokens[0].token));
    assert_eq!(found.second, tokens.get(1).map(|token| token.token));
    assert_eq!(found.token, token, "drawn");
    assert!(near(found.log_sum_exp, tokens[0].logit / heat + sum.ln()));
    assert!(near(found.entropy, sum.ln() - weighted / sum), "{} {}", found.entropy, sum.ln() - weighted / sum);
    assert!(near(found.best_probability, 1.0 / sum));
    let second = tokens.get(1).map_or(0.0, |token| probability(token.token));
    assert!(near(found.margin, 1.0 / sum - second));
    assert!(near(found.probability, probability(token)));
    assert!(near(found.held, request.held.map_or(0.0, probability)));
    assert!(found.top == tokens[..tokens.len().min(request.top)], "top");
}

/// Every setting on every size: the numbers, the token drawn and the tokens kept.
#[test]
fn rows_of_every_shape_match_the_oracle() {
    let mut source = Source(0);
    let mut cases = 0;
    for case in 0..4000 {
        let vocabulary = SIZES[case % SIZES.len()];
        let row = logits(&mut source, vocabulary);
        let changes = changes(&mut source, vocabulary);
        let transform = transform(&mut source, &changes);
        let tokens = ranked(&row, &transform);
        let request = Request {
            row: 0,
            key: (source.below(5) > 0).then(|| stream(3, case as u64)),
            held: Some(source.below(vocabulary + 2))
                .filter(|at| !row.get(*at).is_some_and(|x| x.is_nan()))
                .map(|at| at as u32),
            top: source.one_of(&[0, 0, 1, 7, 100, 10_000]),
        };
        let found = &reduce(&row, vocabulary, &[request], &transform)[0];
        if tokens.is_empty() {
            assert!(found.max == f64::NEG_INFINITY && found.probability.is_nan());
            continue;
        }
        check_summary(found, &tokens, &request, &transform);
        cases += 1;
        if transform.cuts(vocabulary) {
            let seen = Row::new(&row, &transform);
            let found = walk(&seen, &Plan { heat: None, race: None, maxima: true });
            let cut = filter(&seen, &found, None).cut;
            let left = tokens.iter().filter(|token| cut.is_none_or(|cut| cut.keeps(token))).count();
            assert_eq!(left, kept(&tokens, &transform), "case {case}");
        }
    }
    assert!(cases > 3500);
}

/// Long rows, in which the lanes reject nearly all and groups are passed over.
#[test]
fn long_rows_match_the_oracle() {
    let mut source = Source(1);
    for (case, vocabulary) in [60_000, 151_937].into_iter().enumerate() {
        let row: Vec<f32> =
            (0..vocabulary).map(|_| ((0..6).map(|_| source.uniform()).sum::<f64>() * 4.0) as f32).collect();
        for (temperature, top_k, top_p) in [
            (1.0, 0, 1.0),
            (0.3, 0, 1.0),
            (2.0, 0, 1.0),
            (1.0, 64, 1.0),
            (1.3, 20_000, 1.0),
            (1.0, 0, 0.5),
            (0.8, 300, 0.9),
            (1.0, 0, 0.999),
        ] {
            let transform = Transform { temperature, top_k, top_p, drawn_statistics: true, ..Transform::PLAIN };
            let tokens = ranked(&row, &transform);
            let request = Request { row: 0, key: Some(case as u64), held: Some(5), top: 20 };
            check_summary(&reduce(&row, vocabulary, &[request], &transform)[0], &tokens, &request, &transform);
            assert_eq!(top(&Row::new(&row, &transform), 0, &[]), []);
        }
    }
}

/// What the lanes' sums are wrong by: at most this where all weights are equal, which adds every rounding up.
#[test]
fn the_error_of_the_sums_is_small() {
    let mut worst = 0.0f64;
    let mut source = Source(2);
    for spread in [0.0, 1e-3, 0.5, 2.0, 5.0, 12.0] {
        for offset in 0..40 {
            let row: Vec<f32> = (0..20_000)
                .map(|i| if i == 0 { 0.0 } else { -0.21 * offset as f32 - (spread * source.uniform()) as f32 })
                .collect();
            let expected: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            let found = walk(&Row::new(&row, &Transform::PLAIN), &Plan { heat: Some(1.0), race: None, maxima: false });
            let scaled = found.sums.sum * found.sums.max.exp();
            worst = worst.max((scaled / expected - 1.0).abs());
        }
    }
    assert!(worst < 3e-7, "{worst:e}");
}

/// Draws follow the tempered softmax over more than a chunk: chi-squared with 29 degrees of freedom, below its 1e-6 quantile.
#[test]
fn draws_follow_the_softmax() {
    let row: Vec<f32> = (0..3000).map(|i| if i % 100 == 0 { (i / 100) as f32 * 0.05 } else { -40.0 }).collect();
    for temperature in [0.5, 1.0, 1.7] {
        let transform = Transform { temperature, ..Transform::PLAIN };
        let requests: Vec<_> =
            (0..20_000).map(|key| Request { key: Some(stream(9, key)), ..Request::default() }).collect();
        let mut counts = [0.0; 30];
        for summary in reduce(&row, row.len(), &requests, &transform) {
            counts[summary.token as usize / 100] += 1.0;
        }
        let weights: Vec<_> = (0..30).map(|i| (f64::from(i) * 0.05 / temperature).exp()).collect();
        let expected = |i: usize| weights[i] / weights.iter().sum::<f64>() * requests.len() as f64;
        let chi: f64 = (0..30).map(|i| (counts[i] - expected(i)).powi(2) / expected(i)).sum();
        assert!(chi < 85.0, "chi-squared {chi} at temperature {temperature}");
    }
}

/// One key less, one token less: the race has no memory of what lost.
#[test]
fn the_lanes_reject_only_what_loses() {
    let row: Vec<f32> = (0..4096).map(|i| (stream(5, i) % 4000) as f32 * 0.001).collect();
    let tokens = ranked(&row, &Transform::PLAIN);
    for key in 0..2000 {
        let found = &reduce(&row, row.len(), &[Request { key: Some(key), ..Request::default() }], &Transform::PLAIN)[0];
        assert_eq!(found.token, drawn(&tokens, key, 1.0), "{key}");
        let mut race = Race::new(key, 1.0, 0.0);
        tokens.iter().for_each(|token| race.enter_below(*token, race.limit(token.logit)));
        assert_eq!(race.winner.map(|winner| winner.token), Some(found.token), "{key}");
    }
}

#[test]
fn class_summaries_match_the_oracle() {
    let mut source = Source(3);
    for case in 0..1200 {
        let vocabulary = SIZES[case % SIZES.len()];
        let row = logits(&mut source, vocabulary);
        let changes = changes(&mut source, vocabulary);
        let transform = transform(&mut source, &changes);
        let count = source.one_of(&[1, 2, 7, 300]);
        let of: Vec<_> = (0..vocabulary).map(|_| source.below(count) as u16).collect();
        let key = case as u64;
        let found = &class_summaries(&row, vocabulary, &[(0, key)], Classes { of: &of, count }, &transform)[0];
        let tokens = ranked(&row, &transform);
        let Some(best) = tokens.first() else {
            assert!(found.iter().all(|class| class.log_sum.is_nan()));
            continue;
        };
        let temperature = if transform.temperature > 0.0 { transform.temperature } else { 1.0 };
        let exponent = |token: &Ranked| (token.logit - best.logit) / temperature;
        let weight = |tokens: &[Ranked]| tokens.iter().map(|token| exponent(token).exp()).sum::<f64>();
        let total = weight(&tokens).ln();
        for (class, found) in found.iter().enumerate() {
            let own: Vec<_> =
                tokens.iter().copied().filter(|token| usize::from(of[token.token as usize]) == class).collect();
            let Some(first) = own.first() else {
                assert!(found.log_sum == f64::NEG_INFINITY && found.log_best == f64::NEG_INFINITY);
                continue;
            };
            let log_sum = weight(&own).ln() - total;
            assert!(found.log_sum == log_sum || (found.log_sum - log_sum).abs() < 4e-7, "{} {log_sum}", found.log_sum);
            assert_eq!(found.best, first.token);
            assert!(near(found.log_best, exponent(first) - total));
            let second = own.get(1).map_or(f64::NEG_INFINITY, |token| exponent(token) - total);
            assert!(found.log_second == second || near(found.log_second, second), "{} {second}", found.log_second);
            assert_eq!(found.drawn, drawn(&own, key, temperature), "case {case}, class {class}");
            let drawn = own.iter().find(|token| token.token == found.drawn).map(exponent);
            assert!(near(found.log_drawn, drawn.unwrap() - total));
            // -sum q ln q within the class, with q = w / sum w.
            let sum = weight(&own);
            let weighted: f64 = own.iter().map(|token| exponent(token).exp() * exponent(token).max(-1e300)).sum();
            let entropy = if sum > 0.0 { sum.ln() - weighted / sum } else { 0.0 };
            // Where weights are no normal numbers any more, nobody can say.
            let lost = log_sum < -650.0;
            assert!(lost || (found.entropy - entropy).abs() < 1e-5, "{} {entropy}", found.entropy);
        }
    }
}

#[test]
fn log_probabilities_match_the_oracle() {
    let mut source = Source(4);
    let (rows, vocabulary) = (7, 2500);
    let logits: Vec<f32> = (0..rows).flat_map(|_| logits(&mut source, vocabulary)).collect();
    let changes = changes(&mut source, vocabulary);
    let transform = Transform { changes: &changes, penalty: 1.2, temperature: 0.3, top_k: 3, ..Transform::PLAIN };
    let targets: Vec<_> = (0..40).map(|i| (i / 3 % rows, source.below(vocabulary) as u32)).collect();
    let found = log_probabilities(&logits, vocabulary, &targets, &transform);
    for ((row, token), found) in targets.iter().zip(&found) {
        let tokens = ranked(&logits[row * vocabulary..(row + 1) * vocabulary], &transform);
        let sum: f64 = tokens.iter().map(|token| (token.logit - tokens[0].logit).exp()).sum();
        let own = tokens.iter().find(|other| other.token == *token).map_or(f64::NEG_INFINITY, |token| token.logit);
        let expected = own - tokens[0].logit - sum.ln();
        assert!(*found == expected || (found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{found} {expected}");
    }
}

/// At every level, for any number of threads and neighbours.
#[test]
fn a_row_has_the_same_bits_everywhere() {
    let mut source = Source(5);
    for case in 0..60 {
        let vocabulary = [1, 17, 64, 700, 2049, 4500][case % 6];
        // Enough rows for several tasks, or few.
        let rows = source.one_of(&[1, 3, 40]);
        let logits: Vec<f32> = (0..rows).flat_map(|_| logits(&mut source, vocabulary)).collect();
        let changes = changes(&mut source, vocabulary);
        let transform = transform(&mut source, &changes);
        let request = |row: usize| Request { row, key: Some(row as u64), held: Some(0), top: 9 };
        let requests: Vec<_> = (0..rows).map(request).collect();
        let of: Vec<_> = (0..vocabulary).map(|token| (token % 5) as u16).collect();
        let targets: Vec<_> = (0..rows).map(|row| (row, 0)).collect();
        let keys: Vec<_> = (0..rows).map(|row| (row, row as u64)).collect();
        // As text, so that NaN is equal to itself.
        let run = || {
            let classes = class_summaries(&logits, vocabulary, &keys, Classes { of: &of, count: 5 }, &transform);
            let likelihoods = log_probabilities(&logits, vocabulary, &targets, &transform);
            (
                format!("{:?}", reduce(&logits, vocabulary, &requests, &transform)),
                format!("{classes:?} {likelihoods:?}"),
            )
        };
        let all = at_each_level(run);
        assert_eq!(all, on_threads(1, run));
        assert_eq!(all, on_threads(3, run));
        let alone = reduce(
            &logits[(rows - 1) * vocabulary..],
            vocabulary,
            &[Request { row: 0, ..requests[rows - 1] }],
            &transform,
        );
        assert!(all.0.ends_with(&format!("{:?}]", alone[0])));
    }
}

#[test]
fn rows_that_allow_nothing_or_all_say_so() {
    let nothing = [f32::NEG_INFINITY, f32::NAN];
    let found = &reduce(&nothing, 2, &[Request { key: Some(1), ..Request::default() }], &Transform::PLAIN)[0];
    assert!(found.max == f64::NEG_INFINITY && found.probability.is_nan() && found.token == 0);
    let boundless = [0.0, f32::INFINITY];
    for transform in
        [Transform::PLAIN, Transform { top_k: 1, ..Transform::PLAIN }, Transform { top_p: 0.5, ..Transform::PLAIN }]
    {
        let found = &reduce(&boundless, 2, &[Request { key: Some(1), ..Request::default() }], &transform)[0];
        assert!(found.max == f64::INFINITY && found.probability.is_nan());
    }
    assert!(log_probabilities(&boundless, 2, &[(0, 0)], &Transform::PLAIN)[0].is_nan());
    assert!(reduce(&[], 3, &[], &Transform::PLAIN).is_empty());
}
