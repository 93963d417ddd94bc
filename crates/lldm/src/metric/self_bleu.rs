//! Self-BLEU-4: how like one another the texts of a set are.
//!
//! Zhu et al. 2018, "Texygen: a benchmarking platform for text generation models" (arXiv:1802.01886): the mean of
//! BLEU (Papineni et al. 2002) of each text with all the others as its references. High means little variety.
//!
//! ```text
//! BLEU = BP exp(1/4 sum_{n=1..4} ln p_n)      BP = 1 if c > r, else exp(1 - r/c)
//! p_n  = sum_g min(c(g), max over references of c_ref(g)) / sum_g c(g)    over the text's n-grams g
//! ```
//!
//! c is the text's number of words, r that of the reference nearest in length (the shorter of two). Reference
//! implementation: Texygen `utils/metrics/SelfBleu.py`, that is NLTK `sentence_bleu` with `SmoothingFunction().method1`: a
//! `p_n` without a match is 0.1 over its denominator, which is at least 1; a text that shares no word scores 0.
//! Deviations: all texts are scored, where Texygen's fast path takes the first 500, and [`words`] splits the texts, where
//! Texygen has `nltk.word_tokenize`.

use std::collections::HashMap;

use super::words::words;

const ORDER: usize = 4;
/// NLTK's epsilon, in matches.
const SMOOTHING: f64 = 0.1;

/// Self-BLEU-4 of the texts, 0 to 1: the mean BLEU-4 of each against all the others. `None` for fewer than two texts.
///
/// An empty text scores 0 and so makes a set look varied: quote `Diversity::empty` with it. Takes time linear in the number
/// of words.
pub fn self_bleu(texts: &[impl AsRef<str>]) -> Option<f64> {
    if texts.len() < 2 {
        return None;
    }
    let texts: Vec<Vec<&str>> = texts.iter().map(|text| words(text.as_ref())).collect();
    let mut log_precisions = vec![0.0; texts.len()];
    let mut shares_a_word = vec![false; texts.len()];
    for n in 1..=ORDER {
        let counts: Vec<_> = texts.iter().map(|words| count(words, n)).collect();
        let most = most_in_one_text(&counts);
        for (text, counts) in counts.iter().enumerate() {
            let clipped = |(gram, &count): (&&[&str], &usize)| count.min(most[gram].outside(text));
            let matches: usize = counts.iter().map(clipped).sum();
            let total = counts.values().sum::<usize>().max(1) as f64;
            shares_a_word[text] |= n == 1 && matches > 0;
            let smoothed = if matches > 0 { matches as f64 } else { SMOOTHING };
            log_precisions[text] += (smoothed / total).ln() / ORDER as f64;
        }
    }
    let mut lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    lengths.sort_unstable();
    let bleu = |text: usize| match shares_a_word[text] {
        true => brevity_penalty(texts[text].len(), &lengths) * log_precisions[text].exp(),
        false => 0.0,
    };
    Some((0..texts.len()).map(bleu).sum::<f64>() / texts.len() as f64)
}

/// The two greatest counts of an n-gram in one text: whichever text is left out, one of them is the most in the others.
#[derive(Clone, Copy, Default)]
struct Most {
    first: usize,
    text: usize,
    second: usize,
}

impl Most {
    fn outside(&self, text: usize) -> usize {
        if text == self.text { self.second } else { self.first }
    }
}

fn count<'a, 't>(words: &'a [&'t str], n: usize) -> HashMap<&'a [&'t str], usize> {
    let mut counts = HashMap::new();
    for gram in words.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

fn most_in_one_text<'a, 't>(counts: &[HashMap<&'a [&'t str], usize>]) -> HashMap<&'a [&'t str], Most> {
    let mut most: HashMap<_, Most> = HashMap::new();
    for (text, counts) in counts.iter().enumerate() {
        for (&gram, &count) in counts {
            let most = most.entry(gram).or_default();
            if count > most.first {
                *most = Most { first: count, text, second: most.first };
            } else {
                most.second = most.second.max(count);
            }
        }
    }
    most
}

/// `lengths` are all texts' lengths, sorted, this text's own among them.
fn brevity_penalty(length: usize, lengths: &[usize]) -> f64 {
    let below = lengths.partition_point(|&other| other < length);
    let equal = lengths[below..].iter().take_while(|&&other| other == length).count();
    let shorter = below.checked_sub(1).map(|at| lengths[at]);
    let longer = lengths.get(below + equal).copied();
    let nearest = match (equal > 1, shorter, longer) {
        (true, _, _) => length,
        (_, Some(shorter), Some(longer)) if longer - length < length - shorter => longer,
        (_, Some(shorter), _) => shorter,
        (_, None, Some(longer)) => longer,
        (_, None, None) => length,
    };
    if length > nearest { 1.0 } else { (1.0 - nearest as f64 / length as f64).exp() }
}

#[cfg(test)]
mod tests {
    use super::self_bleu;

    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?}, not {expected}");
    }

    #[test]
    fn equal_texts_score_one_and_strangers_nothing() {
        near(self_bleu(&["a b c d e"; 3]), 1.0);
        near(self_bleu(&["a b c d", "e f g h", ""]), 0.0);
        assert_eq!(self_bleu(&["a b c d"]), None);
    }

    #[test]
    fn by_hand() {
        // "a b c d e" against "a b c d": 4/5, 3/4, 2/3, 1/2, product 1/5, longer than its reference.
        // "a b c d" against "a b c d e": all precisions 1, BP exp(1 - 5/4).
        near(self_bleu(&["a b c d e", "a b c d"]), (0.2f64.powf(0.25) + (-0.25f64).exp()) / 2.0);
    }

    #[test]
    fn counts_are_clipped_and_smoothed() {
        // "a a a b" against "a a c" (or "d"): words min(3,2) of 4 = 2/4; pairs aa aa ab, one aa in the reference = 1/3;
        // triples 0.1/2; fours 0.1/1. Nearest length 3: BP 1.
        // "a a c": 2/3, 1/2, 0.1/1, 0.1/1 (no fours: denominator 1); nearest length of 4 and 1 is 4: BP exp(1 - 4/3).
        // "d": no word shared.
        let first = (0.5 / 3.0 * 0.05 * 0.1f64).powf(0.25);
        let second = (2.0 / 3.0 * 0.5 * 0.1 * 0.1f64).powf(0.25) * (-1.0f64 / 3.0).exp();
        near(self_bleu(&["a a a b", "a a c", "d"]), (first + second) / 3.0);
    }

    #[test]
    fn the_nearest_reference_is_the_shorter_of_two() {
        // Lengths 5, 4, 6 with the same beginning: the middle one's references are equally near, and 4 is taken: BP 1,
        // precisions 5/5, 4/4, 3/3, 2/2 against the longer one.
        let score = self_bleu(&["a b c d e", "a b c d", "a b c d e f"]);
        let longest = (5.0 / 6.0 * 4.0 / 5.0 * 3.0 / 4.0 * 2.0 / 3.0f64).powf(0.25);
        near(score, (1.0 + (-0.25f64).exp() + longest) / 3.0);
    }
}
