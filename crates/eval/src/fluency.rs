//! What a constraint costs in fluency: text that obeys one by the joint draw, beside unconstrained text and beside the naive ways (each
//! cell drawn by itself; write freely and try again).
//!
//! Every target is taken from a sentence that a human wrote: some of its words, or its number of words. So each can be met
//! fluently, and the sentences themselves are the level to compare with. Texts that broke their constraint stay in the perplexity.

use std::time::Instant;

use lldm::control::Constraints;
use lldm::control::constraint::{Keywords, Sentences, Words};
use lldm::diffusion::FinishReason;
use lldm::diffusion::rng::{Purpose, Rng};
use lldm::judge::KneserNey;
use lldm::models::Defaults;
use lldm::{Output, Pipeline, Prompt};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::samples::{Cost, Sample, TextReport, look};

/// Letters that a keyword has at least.
const LETTERS: usize = 4;

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FluencyConfig {
    /// Texts of each row.
    pub texts: usize,
    /// Words of a sentence that must be there.
    pub keywords: usize,
    /// The most texts that are written for one by trying again.
    pub tries: usize,
    /// The seed of the first text; the others follow.
    pub seed: u64,
}

/// What a text is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The sentence that it was taken from.
    pub sentence: String,
    /// Words of it.
    pub keywords: Vec<String>,
    /// How many words it has.
    pub words: u32,
}

/// How a constraint is imposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Not at all.
    None,
    /// By the joint draw.
    Joint,
    /// Each cell is drawn by itself from its exact marginal.
    EachCell,
    /// Texts are written freely until one obeys.
    Retry,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// Anything.
    Nothing,
    /// One sentence with the words.
    Keywords,
    /// So many words.
    Length,
    /// One sentence with the words, of so many words in all.
    KeywordsAndLength,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was asked for.
    pub asked: Asked,
    /// How.
    pub way: Way,
    /// The share of texts that obey.
    pub valid: f64,
    /// What the texts cost, thrown away ones included.
    pub cost: Cost,
    /// Seconds of a text.
    pub seconds: f64,
    /// What the texts are like.
    pub quality: TextReport,
}

/// The rows, in their order.
pub const ROWS: [(Asked, Way); 8] = [
    (Asked::Nothing, Way::None),
    (Asked::Keywords, Way::Joint),
    (Asked::Keywords, Way::EachCell),
    (Asked::Keywords, Way::Retry),
    (Asked::Length, Way::Joint),
    (Asked::Length, Way::EachCell),
    (Asked::Length, Way::Retry),
    (Asked::KeywordsAndLength, Way::Joint),
];

/// Targets from sentences that are one sentence of `from` to `to` words with enough long words, drawn from `seed`.
pub fn targets(sentences: &[String], config: &FluencyConfig, from: u32, to: u32) -> Vec<Target> {
    let mut targets = Vec::new();
    for (number, sentence) in (0..).zip(sentences) {
        let words = sentence.split_whitespace().count() as u32;
        // Names and first words are no words of a theme.
        let long = |word: &&str| word.len() >= LETTERS && word.chars().all(|letter| letter.is_ascii_lowercase());
        let mut long: Vec<_> = pieces(sentence).filter(long).map(ToString::to_string).collect();
        long.sort_unstable();
        long.dedup();
        if !(from..=to).contains(&words) || long.len() < config.keywords || !is_one_sentence(sentence) {
            continue;
        }
        let rng = Rng::new(config.seed, number).at(0, 0);
        let keywords = (0..config.keywords).map(|at| long.swap_remove(rng.choice(at, Purpose::Position, long.len())));
        targets.push(Target { keywords: keywords.collect(), words, sentence: sentence.clone() });
        if targets.len() == config.texts {
            break;
        }
    }
    targets
}

/// Measures the rows on the targets; `progress` is told how many texts are done.
///
/// # Errors
/// Where there is no target, or the model fails.
pub fn measure(
    pipeline: &Pipeline,
    targets: &[Target],
    config: &FluencyConfig,
    judge: Option<&KneserNey>,
    request: &Defaults,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Row>> {
    if targets.is_empty() {
        return Err(Error::Nothing { what: "targets" });
    }
    let mut done = 0;
    let mut rows = Vec::new();
    for (asked, way) in ROWS {
        let (mut samples, mut valid, mut cost) = (Vec::new(), 0usize, Cost { tokens: 0.0, nfe: 0.0 });
        let start = Instant::now();
        for (target, number) in targets.iter().zip(config.seed..) {
            let (output, nfe) = write(pipeline, target, (asked, way), config, request, number)?;
            valid += usize::from(obeys(&output.text, target, asked));
            cost.tokens += output.usage.tokens as f64;
            cost.nfe += nfe as f64;
            let ended = output.finish_reason == FinishReason::Stop;
            samples.push(Sample { prompt: String::new(), text: output.text, ended });
            done += 1;
            progress(done);
        }
        let count = targets.len() as f64;
        let end = pipeline.model().denoiser.info().end.first().copied();
        rows.push(Row {
            asked,
            way,
            valid: valid as f64 / count,
            cost: Cost { tokens: cost.tokens / count, nfe: cost.nfe / count },
            seconds: start.elapsed().as_secs_f64() / count,
            quality: look(&samples, pipeline.tokenizer(), judge, end)?,
        });
    }
    Ok(rows)
}

/// A text, and the function evaluations of all that were written for it.
fn write(
    pipeline: &Pipeline,
    target: &Target,
    (asked, way): (Asked, Way),
    config: &FluencyConfig,
    request: &Defaults,
    number: u64,
) -> Result<(Output, usize)> {
    let generate =
        |index: u64| pipeline.generate(Prompt::text("")).request(request.clone()).seed(number).first_index(index);
    let constraints = constraints(target, asked);
    match way {
        Way::None | Way::Joint => {
            let output = generate(0).constraints(constraints).run()?;
            let nfe = output.usage.nfe;
            Ok((output, nfe))
        }
        Way::EachCell => {
            let output = generate(0).constraints(constraints.each_cell_alone()).run()?;
            let nfe = output.usage.nfe;
            Ok((output, nfe))
        }
        Way::Retry => {
            let mut nfe = 0;
            let mut index = 0;
            loop {
                let output = generate(index).run()?;
                nfe += output.usage.nfe;
                index += 1;
                if obeys(&output.text, target, asked) || index as usize >= config.tries {
                    return Ok((output, nfe));
                }
            }
        }
    }
}

fn constraints(target: &Target, asked: Asked) -> Constraints {
    let keywords = || Keywords::all(target.keywords.clone());
    let one = Sentences { from: 1, to: Some(1) };
    let words = Words { from: target.words, to: Some(target.words) };
    match asked {
        Asked::Nothing => Constraints::new(),
        Asked::Keywords => Constraints::new().with(keywords()).with(one),
        Asked::Length => Constraints::new().with(words),
        Asked::KeywordsAndLength => Constraints::new().with(keywords()).with(one).with(words),
    }
}

/// Whether a text is what was asked for, told without any automaton.
fn obeys(text: &str, target: &Target, asked: Asked) -> bool {
    let keywords = || target.keywords.iter().all(|keyword| pieces(text).any(|word| word == keyword));
    let words = || text.split_whitespace().count() == target.words as usize;
    match asked {
        Asked::Nothing => true,
        Asked::Keywords => keywords() && is_one_sentence(text),
        Asked::Length => words(),
        Asked::KeywordsAndLength => keywords() && is_one_sentence(text) && words(),
    }
}

/// Words as a keyword constraint tells them apart.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

/// Whether the last word ends with a mark, and no other.
fn is_one_sentence(text: &str) -> bool {
    let mut words = text.split_whitespace().rev();
    let ends = |word: &str| word.trim_end_matches(['"', '\'', ')', ']']).ends_with(['.', '!', '?']);
    words.next().is_some_and(ends) && !words.any(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: FluencyConfig = FluencyConfig { texts: 5, keywords: 2, tries: 3, seed: 1 };

    fn sentences() -> Vec<String> {
        let all =
            ["The old captain counted every boat.", "Two. Sentences here now are.", "Short one.", "no end here at all"];
        all.map(ToString::to_string).to_vec()
    }

    #[test]
    fn targets_come_from_single_sentences() {
        let found = targets(&sentences(), &CONFIG, 4, 20);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].words, found[0].keywords.len()), (6, 2));
        assert!(found[0].keywords.iter().all(|word| ["captain", "counted", "every", "boat"].contains(&word.as_str())));
        assert!(obeys(&found[0].sentence, &found[0], Asked::KeywordsAndLength));
        assert!(!obeys("The old captain counted. Every boat too.", &found[0], Asked::KeywordsAndLength));
        assert_eq!(found, targets(&sentences(), &CONFIG, 4, 20));
    }

    /// By the joint draw all obey.
    #[test]
    fn joint_texts_obey() {
        let pipeline = Pipeline::load("embedded").expect("the default model");
        let target = targets(&sentences(), &CONFIG, 4, 20).remove(0);
        let config = FluencyConfig { tries: 2, ..CONFIG };
        let mut told = 0;
        let rows =
            measure(&pipeline, &[target.clone(), target], &config, None, &Defaults::default(), &mut |done| told = done);
        let rows = rows.expect("rows");
        assert_eq!((rows.len(), told), (ROWS.len(), 2 * ROWS.len()));
        for row in rows {
            if [Way::None, Way::Joint].contains(&row.way) {
                assert!((row.valid - 1.0).abs() < 1e-9, "{row:?}");
            }
            assert!(row.cost.nfe > 0.0 && row.quality.judge_perplexity.is_none());
        }
        assert!(measure(&pipeline, &[], &config, None, &Defaults::default(), &mut |_| ()).is_err());
    }
}
