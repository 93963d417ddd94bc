//! A corpus of our own: a small probabilistic context-free grammar, English-like, whose sentences have exact
//! probabilities.
//!
//! Subject, verb and object with adjectives, relative clauses of both kinds, prepositional phrases, embedded sentences
//! and agreement in number, over about 120 words. A sentence is drawn from the grammar until it has [`MIN_WORDS`] to
//! [`MAX_WORDS`] words; sentence `index` is a function of (seed, index). Since the distribution is known, a model that
//! was trained on it can be held against the truth: is a sample grammatical, and how near is the likelihood bound to
//! the sentences' real likelihood (inside algorithm: Lari and Young 1990).

use std::collections::HashMap;

use super::document::{Document, LoadConfig};
use super::split::{Split, SplitRule};
use super::splitmix::SplitMix;

/// The fewest words of a sentence.
pub const MIN_WORDS: usize = 4;
/// The most words of a sentence.
pub const MAX_WORDS: usize = 16;

/// The grammar, with the share of its derivations that have an allowed length.
#[derive(Clone, Debug)]
pub struct Grammar {
    allowed: f64,
}

impl Default for Grammar {
    fn default() -> Self {
        Self::new()
    }
}

impl Grammar {
    /// Works out how likely the allowed lengths are.
    pub fn new() -> Self {
        let lengths = length_distribution();
        Self { allowed: lengths[Sentence as usize][MIN_WORDS..].iter().sum() }
    }

    /// Sentence number `index` of `seed`.
    pub fn sentence(&self, seed: u64, index: u64) -> String {
        let mut random = SplitMix::new(seed, index);
        let mut words = Vec::new();
        while words.len() < MIN_WORDS {
            words.clear();
            if !derive(Sentence, &mut random, &mut words) {
                words.clear();
            }
        }
        let mut text = capitalised(words[0]);
        for word in &words[1..] {
            text.push(' ');
            text.push_str(word);
        }
        text.push('.');
        text
    }

    /// The natural logarithm of the probability with which [`Grammar::sentence`] yields this text; none where it never
    /// does.
    pub fn log_prob(&self, text: &str) -> Option<f64> {
        let words: Vec<&str> = text.strip_suffix('.')?.split(' ').collect();
        if !(MIN_WORDS..=MAX_WORDS).contains(&words.len()) {
            return None;
        }
        let probability = Inside { words: &words, memo: HashMap::new() }.ends(Sentence, 0)[words.len()];
        (probability > 0.0).then(|| (probability / self.allowed).ln())
    }

    /// Every word, in lower case but for the names, without repetition, sorted.
    pub fn words() -> Vec<&'static str> {
        let mut words: Vec<&str> = LEXICON.iter().flat_map(|(_, words)| words.iter().copied()).collect();
        words.sort_unstable();
        words.dedup();
        words
    }
}

/// The documents of a part of the generated corpus.
pub(super) fn documents(rule: SplitRule, split: Split, config: &LoadConfig) -> Vec<Document> {
    let grammar = Grammar::new();
    let sentences = (0..config.grammar_sentences as u64).map(|index| grammar.sentence(config.grammar_seed, index));
    let sentences = sentences.filter(|sentence| rule.split("", sentence) == split);
    sentences.map(|sentence| Document::plain(sentence, "grammar")).collect()
}

/// The grammar's symbols; S and P at the end of a name: singular and plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Symbol {
    Sentence,
    Noun,
    NounS,
    NounP,
    CoreS,
    CoreP,
    VerbS,
    VerbP,
    RelS,
    RelP,
    Place,
    // Classes of words.
    DetS,
    DetP,
    ThingS,
    ThingP,
    Name,
    Adjective,
    TransS,
    TransP,
    IntransS,
    IntransP,
    SayS,
    SayP,
    Is,
    Are,
    That,
    Adverb,
    Preposition,
}
use Symbol::*;

const SYMBOLS: usize = Preposition as usize + 1;

type Rule = (f64, &'static [Symbol]);

/// What a symbol may become, with probabilities that sum to 1. Every rule but a choice begins with a word or with what
/// begins with one: there is no left recursion.
const RULES: &[(Symbol, &[Rule])] = &[
    (Sentence, &[(0.55, &[NounS, VerbS]), (0.45, &[NounP, VerbP])]),
    (Noun, &[(0.6, &[NounS]), (0.4, &[NounP])]),
    (NounS, &[(0.15, &[Name]), (0.6, &[DetS, CoreS]), (0.14, &[DetS, CoreS, RelS]), (0.11, &[DetS, CoreS, Place])]),
    (NounP, &[(0.72, &[DetP, CoreP]), (0.16, &[DetP, CoreP, RelP]), (0.12, &[DetP, CoreP, Place])]),
    (CoreS, &[(0.6, &[ThingS]), (0.4, &[Adjective, CoreS])]),
    (CoreP, &[(0.6, &[ThingP]), (0.4, &[Adjective, CoreP])]),
    (
        VerbS,
        &[
            (0.44, &[TransS, Noun]),
            (0.1, &[IntransS]),
            (0.14, &[IntransS, Adverb]),
            (0.14, &[IntransS, Place]),
            (0.1, &[Is, Adjective]),
            (0.08, &[SayS, That, Sentence]),
        ],
    ),
    (
        VerbP,
        &[
            (0.44, &[TransP, Noun]),
            (0.1, &[IntransP]),
            (0.14, &[IntransP, Adverb]),
            (0.14, &[IntransP, Place]),
            (0.1, &[Are, Adjective]),
            (0.08, &[SayP, That, Sentence]),
        ],
    ),
    (RelS, &[(0.5, &[That, VerbS]), (0.28, &[That, NounS, TransS]), (0.22, &[That, NounP, TransP])]),
    (RelP, &[(0.5, &[That, VerbP]), (0.28, &[That, NounS, TransS]), (0.22, &[That, NounP, TransP])]),
    (Place, &[(1.0, &[Preposition, Noun])]),
];

/// The words of each class, all equally likely. All that may follow "a" begin with a consonant.
const LEXICON: &[(Symbol, &[&str])] = &[
    (DetS, &["the", "a", "every", "this"]),
    (DetP, &["the", "some", "many", "these"]),
    (
        ThingS,
        &[
            "dog", "cat", "bird", "horse", "child", "teacher", "farmer", "king", "queen", "sailor", "baker", "wolf",
            "fox", "mouse", "boat", "garden",
        ],
    ),
    (
        ThingP,
        &[
            "dogs", "cats", "birds", "horses", "children", "teachers", "farmers", "kings", "queens", "sailors",
            "bakers", "wolves", "foxes", "mice", "boats", "gardens",
        ],
    ),
    (Name, &["Anna", "Boris", "Clara", "David", "Maria", "Tom"]),
    (
        Adjective,
        &[
            "small", "big", "red", "green", "quiet", "loud", "happy", "sad", "clever", "strange", "young", "brave",
            "tired", "white", "black", "kind", "lazy", "famous",
        ],
    ),
    (TransS, &["sees", "likes", "follows", "helps", "finds", "loves", "paints", "watches", "fears", "visits"]),
    (TransP, &["see", "like", "follow", "help", "find", "love", "paint", "watch", "fear", "visit"]),
    (IntransS, &["sleeps", "sings", "runs", "waits", "laughs", "dances", "falls", "swims"]),
    (IntransP, &["sleep", "sing", "run", "wait", "laugh", "dance", "fall", "swim"]),
    (SayS, &["thinks", "says", "knows"]),
    (SayP, &["think", "say", "know"]),
    (Is, &["is"]),
    (Are, &["are"]),
    (That, &["that"]),
    (Adverb, &["slowly", "often", "today", "quietly", "well", "again", "never", "gladly"]),
    (Preposition, &["near", "behind", "with", "under", "before", "beside"]),
];

/// The rules of a symbol; empty for a class of words.
fn rules(symbol: Symbol) -> &'static [Rule] {
    RULES.iter().find(|(of, _)| *of == symbol).map_or(&[], |(_, rules)| rules)
}

/// The words of a class; empty for a symbol with rules.
fn words_of(symbol: Symbol) -> &'static [&'static str] {
    LEXICON.iter().find(|(of, _)| *of == symbol).map_or(&[], |(_, words)| words)
}

/// Draws what `symbol` becomes and appends it; false as soon as the sentence is too long.
fn derive(symbol: Symbol, random: &mut SplitMix, words: &mut Vec<&'static str>) -> bool {
    let choices = words_of(symbol);
    if !choices.is_empty() {
        words.push(choices[random.below(choices.len())]);
        return words.len() <= MAX_WORDS;
    }
    let (mut at, rules) = (random.unit(), rules(symbol));
    let chosen = rules.iter().find(|(probability, _)| {
        at -= probability;
        at < 0.0
    });
    let (_, parts) = chosen.unwrap_or(&rules[rules.len() - 1]);
    parts.iter().all(|part| derive(*part, random, words))
}

/// For every symbol the probability that it becomes n words, n = 0 to [`MAX_WORDS`].
fn length_distribution() -> [[f64; MAX_WORDS + 1]; SYMBOLS] {
    let mut lengths = [[0.0; MAX_WORDS + 1]; SYMBOLS];
    for (class, _) in LEXICON {
        lengths[*class as usize][1] = 1.0;
    }
    // A derivation of at most MAX_WORDS words has at most two choices above each word: more rounds change nothing.
    for _ in 0..4 * MAX_WORDS {
        for (symbol, rules) in RULES {
            let mut sum = [0.0; MAX_WORDS + 1];
            for (probability, parts) in *rules {
                let mut whole = [0.0; MAX_WORDS + 1];
                whole[0] = *probability;
                for part in *parts {
                    let mut longer = [0.0; MAX_WORDS + 1];
                    for (n, p) in whole.iter().enumerate() {
                        for (m, q) in lengths[*part as usize].iter().enumerate().take(MAX_WORDS + 1 - n) {
                            longer[n + m] += p * q;
                        }
                    }
                    whole = longer;
                }
                sum.iter_mut().zip(whole).for_each(|(sum, p)| *sum += p);
            }
            lengths[*symbol as usize] = sum;
        }
    }
    lengths
}

/// The inside probabilities of one sentence.
struct Inside<'a> {
    words: &'a [&'a str],
    memo: HashMap<(Symbol, usize), Vec<f64>>,
}

impl Inside<'_> {
    /// For every end the probability that `symbol` becomes the words from `start` to there.
    fn ends(&mut self, symbol: Symbol, start: usize) -> Vec<f64> {
        if let Some(known) = self.memo.get(&(symbol, start)) {
            return known.clone();
        }
        let mut ends = vec![0.0; self.words.len() + 1];
        let choices = words_of(symbol);
        if let Some(found) = self.words.get(start)
            && choices.iter().any(|word| if start == 0 { capitalised(word) == *found } else { word == found })
        {
            ends[start + 1] = 1.0 / choices.len() as f64;
        }
        for (probability, parts) in rules(symbol) {
            let mut reached = vec![0.0; self.words.len() + 1];
            reached[start] = *probability;
            for part in *parts {
                let mut further = vec![0.0; self.words.len() + 1];
                for (from, p) in reached.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                    further.iter_mut().zip(self.ends(*part, from)).for_each(|(sum, q)| *sum += p * q);
                }
                reached = further;
            }
            ends.iter_mut().zip(reached).for_each(|(sum, p)| *sum += p);
        }
        self.memo.insert((symbol, start), ends.clone());
        ends
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sound() {
        for (symbol, rules) in RULES {
            assert!((rules.iter().map(|(p, _)| p).sum::<f64>() - 1.0).abs() < 1e-12, "{symbol:?}");
            assert!(words_of(*symbol).is_empty());
        }
        assert_eq!(RULES.len() + LEXICON.len(), SYMBOLS);
        let words = Grammar::words();
        assert!((110..=130).contains(&words.len()), "{}", words.len());
        for class in [ThingS, Adjective] {
            assert!(words_of(class).iter().all(|word| !word.starts_with(['a', 'e', 'i', 'o', 'u'])));
        }
    }

    #[test]
    fn sentences_are_functions_of_seed_and_index_and_grammatical() {
        let grammar = Grammar::new();
        let mut lengths = [0; MAX_WORDS + 1];
        for index in 0..3000 {
            let sentence = grammar.sentence(7, index);
            assert_eq!(sentence, grammar.sentence(7, index));
            lengths[sentence.split(' ').count()] += 1;
            assert!(grammar.log_prob(&sentence).is_some(), "{sentence}");
        }
        assert!(lengths[MIN_WORDS..].iter().all(|n| *n > 0), "{lengths:?}");
        assert_ne!(grammar.sentence(7, 0), grammar.sentence(8, 0));
    }

    #[test]
    fn what_is_not_grammatical_has_no_probability() {
        let grammar = Grammar::new();
        assert!(grammar.log_prob("The dog that the cats see sleeps.").is_some());
        for wrong in [
            "The dog see a cat.",
            "the dog sees a cat.",
            "The dog sees a cat",
            "The dogs sees a cat.",
            "Dog the a cat.",
            "Anna sleeps.",
        ] {
            assert_eq!(grammar.log_prob(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn probabilities_are_those_of_the_draws() {
        let grammar = Grammar::new();
        // The frequency of a sentence's shape against the sum of its probabilities: "<Name> is <adjective> ..." is too
        // short, so take "The <thing> is <adjective>." (16 things, 18 adjectives).
        let exact = 16.0 * 18.0 * grammar.log_prob("The dog is small.").unwrap().exp();
        let draws = 200_000;
        let shape = |s: &str| {
            let words: Vec<&str> = s.split(' ').collect();
            words.len() == 4 && words[0] == "The" && words[2] == "is"
        };
        let seen = (0..draws).filter(|index| shape(&grammar.sentence(1, *index))).count() as f64 / draws as f64;
        let error = (exact * (1.0 - exact) / draws as f64).sqrt();
        assert!((seen - exact).abs() < 4.0 * error, "{seen} against {exact} +- {error}");
    }
}
