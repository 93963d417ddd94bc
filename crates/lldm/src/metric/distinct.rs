//! Distinct-n and the counts that go with it.
//!
//! Li et al. 2016, "A diversity-promoting objective function for neural conversation models" (arXiv:1510.03055).
//! Deviation: the paper divides the number of distinct n-grams by the number of words; like most later work this divides by
//! the number of n-grams, so that 1 means that none repeats, whatever n.

use std::collections::HashSet;

use super::words::words;

/// How varied a set of texts is. The shares fall as the set grows: compare sets of one size.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diversity {
    /// Number of texts, empty ones included.
    pub texts: usize,
    /// Number of texts without a word.
    pub empty: usize,
    /// Number of different texts; white space around a text does not count. All empty texts are one.
    pub distinct_texts: usize,
    /// Distinct words divided by words, over all texts together; 0 to 1. `None` where there is no word.
    pub distinct_1: Option<f64>,
    /// The same for pairs of words within one text.
    pub distinct_2: Option<f64>,
    /// The same for triples of words within one text.
    pub distinct_3: Option<f64>,
}

impl Diversity {
    /// Counts the texts, split by [`words`].
    ///
    /// ```
    /// use lldm::metric::Diversity;
    ///
    /// let diversity = Diversity::of(&["a b a b", "a b", ""]);
    /// assert_eq!((diversity.texts, diversity.empty, diversity.distinct_texts), (3, 1, 3));
    /// assert_eq!(diversity.distinct_1, Some(2.0 / 6.0)); // a, b
    /// assert_eq!(diversity.distinct_2, Some(2.0 / 4.0)); // ab, ba
    /// ```
    pub fn of(texts: &[impl AsRef<str>]) -> Self {
        let split: Vec<Vec<&str>> = texts.iter().map(|text| words(text.as_ref())).collect();
        Self {
            texts: texts.len(),
            empty: split.iter().filter(|words| words.is_empty()).count(),
            distinct_texts: texts.iter().map(|text| text.as_ref().trim()).collect::<HashSet<_>>().len(),
            distinct_1: distinct(&split, 1),
            distinct_2: distinct(&split, 2),
            distinct_3: distinct(&split, 3),
        }
    }
}

fn distinct(texts: &[Vec<&str>], n: usize) -> Option<f64> {
    let grams = || texts.iter().flat_map(|words| words.windows(n));
    let total = grams().count();
    (total > 0).then(|| grams().collect::<HashSet<_>>().len() as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::Diversity;

    #[test]
    fn shares_are_over_all_texts_and_within_each() {
        // Words: the cat sat . / the cat ran . / the cat sat .  -> 12 words, 5 distinct (the cat sat ran .)
        // Pairs: 9, distinct the-cat cat-sat sat-. cat-ran ran-. = 5; triples: 6, distinct 4. No pair ". the".
        let diversity = Diversity::of(&["the cat sat.", "the cat ran.", " the cat sat.\n", "", " "]);
        let expected = Diversity {
            texts: 5,
            empty: 2,
            distinct_texts: 3,
            distinct_1: Some(5.0 / 12.0),
            distinct_2: Some(5.0 / 9.0),
            distinct_3: Some(4.0 / 6.0),
        };
        assert_eq!(diversity, expected);
    }

    #[test]
    fn shares_of_nothing_are_none() {
        let diversity = Diversity::of(&["one", ""]);
        assert_eq!(diversity.distinct_1, Some(1.0));
        assert_eq!(diversity.distinct_2, None);
        assert_eq!(Diversity::of(&[] as &[&str]).distinct_1, None);
    }
}
