//! The judge against the formulas written down a second time, its sums, and its file.

use std::collections::{BTreeSet, HashMap};
use std::fs;

use super::{Discount, JudgeError, KneserNey};

/// Modified Kneser-Ney straight from the formulas: counts in a map by n-gram (oldest token first), sums by scanning it.
struct Naive {
    vocabulary: u32,
    adjusted: Vec<HashMap<Vec<u32>, u64>>,
    discounts: Vec<[f64; 3]>,
    begin: u32,
}

impl Naive {
    fn train(order: usize, vocabulary: u32, sequences: &[Vec<u32>]) -> Self {
        let begin = u32::MAX;
        let mut raw: Vec<HashMap<Vec<u32>, u64>> = vec![HashMap::new(); order];
        for sequence in sequences {
            let padded: Vec<u32> = [begin].iter().chain(sequence).copied().collect();
            for n in 1..=order {
                for gram in padded.windows(n).filter(|gram| gram[gram.len() - 1] != begin) {
                    *raw[n - 1].entry(gram.to_vec()).or_default() += 1;
                }
            }
        }
        let adjusted: Vec<HashMap<Vec<u32>, u64>> = (0..order)
            .map(|level| {
                let adjust = |(gram, &count): (&Vec<u32>, &u64)| {
                    let distinct = || {
                        let longer = raw[level + 1].keys().filter(|longer| longer[1..] == gram[..]);
                        longer.map(|longer| longer[0]).collect::<BTreeSet<_>>().len() as u64
                    };
                    (gram.clone(), if level + 1 == order || gram[0] == begin { count } else { distinct() })
                };
                raw[level].iter().map(adjust).collect()
            })
            .collect();
        let discounts = adjusted.iter().map(Self::discounts).collect();
        Self { vocabulary, adjusted, discounts, begin }
    }

    fn discounts(counts: &HashMap<Vec<u32>, u64>) -> [f64; 3] {
        let n = |i| counts.values().filter(|&&count| count == i).count() as f64;
        let y = n(1) / (n(1) + 2.0 * n(2));
        let d = [1.0 - 2.0 * y * n(2) / n(1), 2.0 - 3.0 * y * n(3) / n(2), 3.0 - 4.0 * y * n(4) / n(3)];
        let sound = (1..=4).all(|i| n(i) > 0.0) && d.iter().all(|&d| d > 0.0);
        if sound { d } else { [0.5, 1.0, 1.5] }
    }

    /// `context` holds the whole text so far.
    fn probability(&self, context: &[u32], token: u32) -> f64 {
        let padded: Vec<u32> = [self.begin].iter().chain(context).copied().collect();
        let length = (self.adjusted.len() - 1).min(padded.len());
        self.interpolate(&padded[padded.len() - length..], token)
    }

    fn interpolate(&self, context: &[u32], token: u32) -> f64 {
        let shorter = match context {
            [] => 1.0 / f64::from(self.vocabulary),
            [_, rest @ ..] => self.interpolate(rest, token),
        };
        let (counts, d) = (&self.adjusted[context.len()], self.discounts[context.len()]);
        let after: Vec<(u32, u64)> = counts
            .iter()
            .filter(|(gram, _)| gram[..gram.len() - 1] == *context)
            .map(|(gram, &count)| (gram[gram.len() - 1], count))
            .collect();
        let total = after.iter().map(|&(_, count)| count).sum::<u64>() as f64;
        if total == 0.0 {
            return shorter;
        }
        let discount = |count: u64| d[count.min(3) as usize - 1];
        let gamma = after.iter().map(|&(_, count)| discount(count)).sum::<f64>() / total;
        let seen = after.iter().find(|&&(next, _)| next == token).map_or(0.0, |&(_, c)| c as f64 - discount(c));
        seen.max(0.0) / total + gamma * shorter
    }
}

/// A small corpus with skewed tokens, repeated phrases and an end token (the last id); empty and short texts among them.
fn corpus(vocabulary: u32, texts: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut random = lcg(seed);
    let end = vocabulary - 1;
    (0..texts)
        .map(|_| {
            let mut text: Vec<u32> = Vec::new();
            for _ in 0..random(12) {
                let next = match text.last() {
                    Some(&last) if random(3) > 0 => (last * 3 + 1 + random(2)) % end,
                    _ => random(end).min(random(end)),
                };
                text.push(next);
            }
            text.push(end);
            text
        })
        .collect()
}

fn lcg(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) % u64::from(below)) as u32
    }
}

#[test]
fn agrees_with_the_formulas() {
    let mut estimated = 0;
    for (order, vocabulary, texts) in [(1, 6, 30), (2, 6, 60), (3, 9, 150), (5, 12, 300), (5, 30, 40), (8, 7, 25)] {
        let sequences = corpus(vocabulary, texts, u64::from(vocabulary) + order as u64);
        let judge = KneserNey::train(order, vocabulary as usize, &sequences).expect("trains");
        let naive = Naive::train(order, vocabulary, &sequences);
        for (found, expected) in judge.discounts().iter().zip(&naive.discounts) {
            estimated += usize::from(found.estimated);
            assert!(found.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {expected:?}");
        }
        let mut random = lcg(3);
        for turn in 0..60 {
            // Contexts that were seen, beginnings of texts, and contexts at random.
            let context: Vec<u32> = match turn % 2 {
                0 => (0..random(10)).map(|_| random(vocabulary)).collect(),
                _ => {
                    let text = &sequences[random(sequences.len() as u32) as usize];
                    text[..random(text.len() as u32) as usize].to_vec()
                }
            };
            let row = judge.probabilities(&context);
            for token in 0..vocabulary {
                let expected = naive.probability(&context, token);
                let found = judge.log_probability(&context, token).exp();
                assert!((found - expected).abs() < 1e-12, "order {order} {context:?} {token}: {found} {expected}");
                assert!((row[token as usize] - expected).abs() < 1e-12);
            }
        }
    }
    assert!(estimated >= 6, "only {estimated} orders had counts to estimate discounts from");
}

#[test]
fn unigrams_by_hand() {
    // Counts 2 and 1 of 3, fallback discounts 1 and 0.5: the uniform distribution gets (1 + 0.5) / 3 = 1/2.
    let judge = KneserNey::train(1, 3, [[0, 0, 1]]).expect("trains");
    assert_eq!(judge.discounts(), [Discount { values: Discount::FALLBACK, estimated: false }]);
    let expected = [1.0 / 3.0 + 0.5 / 3.0, 0.5 / 3.0 + 0.5 / 3.0, 0.5 / 3.0];
    for (token, expected) in expected.iter().enumerate() {
        assert!((judge.log_probability(&[], token as u32) - f64::ln(*expected)).abs() < 1e-12);
    }
}

#[test]
fn every_context_sums_to_one_and_leaves_no_token_out() {
    let vocabulary = 400;
    let judge = KneserNey::train(5, vocabulary, corpus(vocabulary as u32 - 50, 2000, 1)).expect("trains");
    let mut random = lcg(9);
    for _ in 0..200 {
        let context: Vec<u32> = (0..random(7)).map(|_| random(vocabulary as u32).min(random(60))).collect();
        let row: Vec<f64> = (0..vocabulary as u32).map(|token| judge.log_probability(&context, token).exp()).collect();
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-10, "{context:?}");
        assert!(row.iter().all(|&p| p > 0.0));
    }
}

#[test]
fn scores_add_up_over_the_flagged_tokens() {
    let sequences = corpus(12, 100, 5);
    let judge = KneserNey::train(5, 12, &sequences).expect("trains");
    let text = sequences.iter().find(|text| text.len() > 8).expect("a long text");
    let flags: Vec<bool> = (0..text.len()).map(|at| at >= 3).collect();
    let inverse: Vec<bool> = flags.iter().map(|flag| !flag).collect();
    let (tail, head) = (judge.score(text, &flags).expect("scores"), judge.score(text, &inverse).expect("scores"));
    let all: f64 = (0..text.len()).map(|at| -judge.log_probability(&text[..at], text[at])).sum();
    assert_eq!((head + tail).tokens, text.len());
    assert!(((head + tail).nats - all).abs() < 1e-12);
    let mean = tail.nats / tail.tokens as f64;
    assert_eq!(judge.perplexity([(&text[..], &flags[..])]).expect("scores"), Some(mean.exp()));
    assert_eq!(tail.bits_per_byte(10), Some(tail.nats / 2f64.ln() / 10.0));
    assert_eq!(judge.score(text, &vec![false; text.len()]).expect("scores").perplexity(), None);
    // Only the last order - 1 tokens of a long context count.
    assert_eq!(judge.log_probability(&text[..6], text[6]), judge.log_probability(&text[2..6], text[6]));
}

#[test]
fn human_like_text_is_likelier_than_shuffled() {
    let judge = KneserNey::train(5, 40, corpus(40, 500, 1)).expect("trains");
    let held_out = corpus(40, 50, 2);
    let perplexity = |texts: &[Vec<u32>]| {
        let flags = [true; 64];
        judge.perplexity(texts.iter().map(|text| (&text[..], &flags[..text.len()]))).expect("scores").expect("tokens")
    };
    let reversed: Vec<Vec<u32>> = held_out.iter().map(|text| text.iter().rev().copied().collect()).collect();
    assert!(perplexity(&held_out) * 1.5 < perplexity(&reversed));
}

#[test]
fn wrong_input_is_named() {
    let train = |order, vocabulary, text: &[u32]| KneserNey::train(order, vocabulary, [text]);
    assert!(matches!(train(0, 4, &[1]), Err(JudgeError::Order { found: 0 })));
    assert!(matches!(train(9, 4, &[1]), Err(JudgeError::Order { found: 9 })));
    assert!(matches!(train(5, 0, &[1]), Err(JudgeError::Vocabulary { found: 0 })));
    assert!(matches!(train(5, 65_536, &[1]), Err(JudgeError::Vocabulary { found: 65_536 })));
    assert!(matches!(train(5, 4, &[1, 4]), Err(JudgeError::Token { token: 4, position: 1, vocabulary: 4 })));
    assert!(matches!(train(5, 4, &[]), Err(JudgeError::EmptyCorpus)));
    let judge = train(5, 65_535, &[1, 65_534, 1]).expect("the largest vocabulary");
    assert!(matches!(judge.score(&[1], &[]), Err(JudgeError::ScoredLength { tokens: 1, scored: 0 })));
    assert!(matches!(judge.score(&[65_535], &[true]), Err(JudgeError::Token { token: 65_535, position: 0, .. })));
    assert_eq!(judge.log_probability(&[1], 65_535), f64::NEG_INFINITY);
    // The id behind the last one is the begin marker inside; as a context token it is merely unknown.
    assert_eq!(judge.log_probability(&[1, 1, 1, 65_535], 1), judge.log_probability(&[1, 1, 1, 70_000], 1));
}

#[test]
fn a_file_brings_the_same_model_back() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("judge.kn");
    for (order, vocabulary) in [(1, 5), (2, 5), (5, 300), (8, 12)] {
        let judge = KneserNey::train(order, vocabulary as usize, corpus(vocabulary, 200, 1)).expect("trains");
        judge.save(&path).expect("saves");
        assert_eq!(KneserNey::load(&path).expect("loads"), judge);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "a temporary file was left");
}

#[test]
fn a_bad_file_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("judge.kn");
    KneserNey::train(3, 20, corpus(20, 50, 1)).expect("trains").save(&path).expect("saves");
    let good = fs::read(&path).expect("reads");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("writes");
        KneserNey::load(&path)
    };
    assert!(matches!(load(b"{\"order\": 5}"), Err(JudgeError::Magic { .. })));
    assert!(matches!(load(b""), Err(JudgeError::Magic { .. })));
    for end in 8..good.len() {
        assert!(matches!(load(&good[..end]), Err(JudgeError::Length { .. })), "cut at {end}");
    }
    assert!(matches!(load(&[&good[..], &[0]].concat()), Err(JudgeError::Length { .. })));
    let mut other = good.clone();
    other[8] = 9;
    assert!(matches!(load(&other), Err(JudgeError::Version { found: 9, .. })));
    for at in (28..good.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert!(matches!(load(&flipped), Err(JudgeError::Damaged { .. })), "flipped at {at}");
    }
    assert!(matches!(KneserNey::load(folder.path().join("none")), Err(JudgeError::Read { .. })));
    let nowhere = KneserNey::train(1, 2, [[0, 1]]).expect("trains").save(folder.path().join("none/judge.kn"));
    assert!(matches!(nowhere, Err(JudgeError::Write { .. })));
}
