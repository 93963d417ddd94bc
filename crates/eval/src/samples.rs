//! Texts written from nothing: how many are empty or the same, how varied they are, and what a judge says of them
//! beside human text and the same text with its words shuffled.

use serde::Serialize;

use lldm::judge::{KneserNey, Score};
use lldm::metric::{Diversity, mean_unigram_entropy, self_bleu};
use lldm::models::Tokenizer;
use lldm::{Pipeline, Prompt};

use crate::error::Result;

/// What a set of texts is like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextReport {
    /// Counts and distinct-n.
    pub diversity: Diversity,
    /// The judge's perplexity per token, the end of the text included; `None` without a judge.
    pub judge_perplexity: Option<f64>,
    /// The mean entropy of a text's own tokens, in nats.
    pub unigram_entropy: Option<f64>,
    /// Self-BLEU-4; low is varied.
    pub self_bleu: Option<f64>,
}

/// A text with what it was written behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Given, and not judged.
    pub prompt: String,
    /// The text.
    pub text: String,
    /// Whether the text ended by itself: then its end is judged, too.
    pub ended: bool,
}

/// What texts cost on the average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens of a text.
    pub tokens: f64,
    /// Function evaluations of a text.
    pub nfe: f64,
}

impl Sample {
    /// A whole text that follows nothing.
    pub fn whole(text: impl Into<String>) -> Self {
        Self { prompt: String::new(), text: text.into(), ended: true }
    }
}

/// Writes `count` texts from an empty prompt, seeds 0 to `count`, with the model's own settings.
pub fn write_texts(pipeline: &Pipeline, count: usize) -> Result<(Vec<String>, Cost)> {
    let mut texts = Vec::with_capacity(count);
    let (mut tokens, mut nfe) = (0usize, 0usize);
    for seed in 0..count {
        let output = pipeline.generate(Prompt::text("")).seed(seed as u64).run()?;
        tokens += output.usage.tokens;
        nfe += output.usage.nfe;
        texts.push(output.text);
    }
    let count = count.max(1) as f64;
    Ok((texts, Cost { tokens: tokens as f64 / count, nfe: nfe as f64 / count }))
}

/// Looks at a set of texts, with a judge over the same tokenizer if there is one. `end` is the token that ends a text.
pub fn look(
    samples: &[Sample],
    tokenizer: &Tokenizer,
    judge: Option<&KneserNey>,
    end: Option<u32>,
) -> Result<TextReport> {
    let mut total = Score::default();
    let mut all = Vec::with_capacity(samples.len());
    for Sample { prompt, text, ended } in samples {
        let encode = |text: &str| tokenizer.encode(text).map_err(lldm::Error::from);
        let (mut whole, tokens) = (encode(prompt)?, encode(text)?);
        let given = whole.len();
        whole.extend(tokens.iter().copied().chain(end.filter(|_| *ended)));
        if let Some(judge) = judge {
            let scored: Vec<_> = (0..whole.len()).map(|at| at >= given).collect();
            total += judge.score(&whole, &scored)?;
        }
        all.push(tokens);
    }
    let texts: Vec<_> = samples.iter().map(|sample| sample.text.as_str()).collect();
    Ok(TextReport {
        diversity: Diversity::of(&texts),
        judge_perplexity: total.perplexity(),
        unigram_entropy: mean_unigram_entropy(&all),
        self_bleu: self_bleu(&texts),
    })
}

/// The same texts with the words of each in another order, drawn from `seed`.
pub fn shuffled(texts: &[String], seed: u64) -> Vec<String> {
    use lldm::diffusion::rng::{Purpose, Rng};
    let shuffle = |(index, text): (usize, &String)| {
        let mut words: Vec<_> = text.split_whitespace().collect();
        let rng = Rng::new(seed, index as u64).at(0, 0);
        for at in (1..words.len()).rev() {
            words.swap(at, rng.choice(at, Purpose::Position, at + 1));
        }
        words.join(" ")
    };
    texts.iter().enumerate().map(shuffle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_the_words() {
        let texts = vec!["the old captain counted every boat".to_string()];
        let mixed = shuffled(&texts, 1);
        let sorted = |text: &str| {
            let mut words: Vec<_> = text.split(' ').map(str::to_string).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(&mixed[0]), sorted(&texts[0]));
        assert_ne!(mixed, texts);
        assert_eq!(mixed, shuffled(&texts, 1));
    }

    #[test]
    fn an_end_is_judged_where_there_is_one() {
        let toy = Pipeline::load("toy").expect("the toy");
        let (tokenizer, end) = (toy.tokenizer(), 0);
        let tokens = tokenizer.encode("a sentence crossed the canvas").expect("tokens");
        let judge = KneserNey::train(3, tokenizer.vocabulary(), [[tokens, vec![end]].concat()]).expect("a judge");
        let look = |prompt: &str, text: &str, ended| {
            let sample = Sample { prompt: prompt.to_string(), text: text.to_string(), ended };
            look(&[sample], tokenizer, Some(&judge), Some(end)).expect("a report").judge_perplexity
        };
        assert_ne!(look("", "a sentence", true), look("", "a sentence", false));
        assert!(look("a sentence", "crossed", false) < look("", "crossed", false), "the prompt is known");
        assert_eq!(look("a sentence", "", false), None);
    }

    #[test]
    fn the_toy_writes_its_sentences() {
        let pipeline = Pipeline::load("toy").expect("the toy");
        let (texts, cost) = write_texts(&pipeline, 20).expect("texts");
        let diversity = Diversity::of(&texts);
        assert_eq!((diversity.texts, diversity.empty), (20, 0));
        assert!(diversity.distinct_texts > 3 && cost.tokens > 3.0 && cost.nfe > 1.0);
    }
}
