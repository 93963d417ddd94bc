//! What parallel denoising buys and what it costs: the same texts written by several settings in turn, with the speed, the
//! function evaluations and the quality of each.
//!
//! Texts are written one at a time, so a speed is that of one stream. The settings take turns text by text, round after round,
//! so that a machine which is slower for a while is slower for all of them; a speed is the median over the rounds. A text depends on
//! its seed alone, so that every round must write the same ones: their quality is looked at once.

use std::time::Instant;

use serde::Serialize;

use lldm::diffusion::{FinishReason, Usage};
use lldm::judge::KneserNey;
use lldm::models::{Defaults, Tokenizer};
use lldm::output::UsedSampler;
use lldm::{Output, Pipeline, Prompt};

use crate::error::{Error, Result};
use crate::median::median;
use crate::samples::{Sample, TextReport, look};

/// A model under one setting.
pub struct Contender<'a> {
    /// The model.
    pub pipeline: &'a Pipeline,
    /// What is asked of it beyond its own settings.
    pub request: Defaults,
}

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TradeoffConfig {
    /// Texts of each setting in each round.
    pub texts: usize,
    /// Rounds.
    pub rounds: usize,
    /// The seed of the first text; the others follow.
    pub seed: u64,
    /// What the texts begin with, in turn; without any, they are written from nothing.
    pub prompts: Vec<String>,
}

/// A speed over the rounds, in answer tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// The median.
    pub median: f64,
    /// The slowest round.
    pub least: f64,
    /// The fastest round.
    pub most: f64,
}

/// What a setting was found to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The model.
    pub model: String,
    /// The sampler with all of its settings.
    pub sampler: UsedSampler,
    /// Answer tokens per second: what stands behind the end of a text is not counted.
    pub tokens_per_second: Speed,
    /// The median over the rounds of this speed divided by the first contender's in the same round.
    pub relative_speed: f64,
    /// Answer tokens per function evaluation. Passes over the context are not among them; their time is.
    pub tokens_per_nfe: f64,
    /// Function evaluations of a text, on the average.
    pub nfe: f64,
    /// Passes over the context of a text (prefill and cache stores), on the average.
    pub context_passes: f64,
    /// Answer tokens of a text, on the average.
    pub tokens: f64,
    /// Texts that were cut by the limit of tokens before they ended.
    pub cut: usize,
    /// What the texts are like.
    pub quality: TextReport,
}

/// How far a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The round, from 1.
    pub round: usize,
    /// Texts written in all rounds.
    pub written: usize,
    /// Texts to be written in all rounds.
    pub total: usize,
}

/// A setting while it is measured.
struct Course {
    outputs: Vec<Output>,
    speeds: Vec<f64>,
}

/// Measures the contenders; the first is what the others are set against.
///
/// # Errors
/// A contender with another tokenizer than the first one, a setting that its model refuses, texts that are not the same in
/// every round, no text or no round.
pub fn measure(
    contenders: &[Contender],
    config: &TradeoffConfig,
    judge: Option<&KneserNey>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Point>> {
    for (name, found) in [("texts", config.texts), ("rounds", config.rounds), ("contenders", contenders.len())] {
        if found == 0 {
            return Err(Error::Nothing { what: name });
        }
    }
    let first = contenders[0].pipeline;
    for contender in &contenders[1..] {
        check_tokenizers(first, contender.pipeline)?;
    }
    let mut courses: Vec<_> = contenders.iter().map(|_| Course { outputs: Vec::new(), speeds: Vec::new() }).collect();
    // What happens only once, such as the first touch of the weights, belongs to no setting: a text goes untimed.
    for contender in contenders {
        write(contender, config, 0)?;
    }
    let mut at = Progress { round: 0, written: 0, total: contenders.len() * config.texts * config.rounds };
    for round in 1..=config.rounds {
        at.round = round;
        let mut written: Vec<_> = contenders.iter().map(|_| (Vec::with_capacity(config.texts), 0.0)).collect();
        for number in 0..config.texts {
            for (contender, (outputs, elapsed_s)) in contenders.iter().zip(&mut written) {
                let start = Instant::now();
                outputs.push(write(contender, config, number)?);
                *elapsed_s += start.elapsed().as_secs_f64();
                at.written += 1;
                progress(at);
            }
        }
        for (course, (outputs, elapsed_s)) in courses.iter_mut().zip(written) {
            course.finish_round(outputs, elapsed_s, round)?;
        }
    }
    let reference = courses[0].speeds.clone();
    let points = contenders.iter().zip(&courses);
    points.map(|(contender, course)| course.point(contender.pipeline, &reference, config, judge)).collect()
}

/// Fails where two models cut text into other tokens: neither their speeds nor their perplexities compare.
pub fn check_tokenizers(one: &Pipeline, other: &Pipeline) -> Result<()> {
    if same(one.tokenizer(), other.tokenizer()) {
        return Ok(());
    }
    Err(Error::Tokenizers { one: one.model().name.clone(), other: other.model().name.clone() })
}

fn same(one: &Tokenizer, other: &Tokenizer) -> bool {
    let token = |id| one.piece(id) == other.piece(id) && one.is_special(id) == other.is_special(id);
    one.vocabulary() == other.vocabulary() && (0..one.vocabulary() as u32).all(token)
}

fn write(contender: &Contender, config: &TradeoffConfig, number: usize) -> Result<Output> {
    let seed = config.seed.wrapping_add(number as u64);
    let prompt = Prompt::text(prompt(config, number));
    Ok(contender.pipeline.generate(prompt).request(contender.request.clone()).seed(seed).run()?)
}

fn prompt(config: &TradeoffConfig, number: usize) -> &str {
    match config.prompts.as_slice() {
        [] => "",
        prompts => &prompts[number % prompts.len()],
    }
}

impl Course {
    /// Keeps the first round's texts, and holds those of the others against them.
    fn finish_round(&mut self, outputs: Vec<Output>, elapsed_s: f64, round: usize) -> Result<()> {
        let tokens: usize = outputs.iter().map(|output| output.usage.tokens).sum();
        self.speeds.push(tokens as f64 / elapsed_s.max(1e-9));
        if self.outputs.is_empty() {
            self.outputs = outputs;
        } else if let Some(other) = self.outputs.iter().zip(&outputs).find(|(before, now)| before != now) {
            return Err(Error::Unsteady { model: other.0.model.clone(), seed: other.0.seed, round });
        }
        Ok(())
    }

    fn point(
        &self,
        pipeline: &Pipeline,
        reference: &[f64],
        config: &TradeoffConfig,
        judge: Option<&KneserNey>,
    ) -> Result<Point> {
        let count = self.outputs.len() as f64;
        let sum = |of: fn(&Usage) -> usize| self.outputs.iter().map(|output| of(&output.usage)).sum::<usize>() as f64;
        let (tokens, nfe) = (sum(|usage| usage.tokens), sum(|usage| usage.nfe));
        let cut = |output: &&Output| output.finish_reason == FinishReason::Length;
        let samples: Vec<_> = (0..)
            .zip(&self.outputs)
            .map(|(number, output)| Sample {
                prompt: prompt(config, number).to_string(),
                text: output.text.clone(),
                ended: !cut(&output),
            })
            .collect();
        // A text that is empty took time, so a speed can be 0; the first contender's ratio to itself is still 1.
        let relative = |(own, other): (&f64, &f64)| if own == other { 1.0 } else { own / other };
        Ok(Point {
            model: self.outputs[0].model.clone(),
            sampler: self.outputs[0].sampler.clone(),
            tokens_per_second: Speed::over(&self.speeds),
            relative_speed: median(self.speeds.iter().zip(reference).map(relative).collect()),
            tokens_per_nfe: tokens / nfe.max(1.0),
            nfe: nfe / count,
            context_passes: sum(|usage| usage.context_passes) / count,
            tokens: tokens / count,
            cut: self.outputs.iter().filter(cut).count(),
            quality: look(
                &samples,
                pipeline.tokenizer(),
                judge,
                pipeline.model().denoiser.info().end.first().copied(),
            )?,
        })
    }
}

impl Speed {
    fn over(speeds: &[f64]) -> Self {
        Self {
            median: median(speeds.to_vec()),
            least: speeds.iter().copied().fold(f64::INFINITY, f64::min),
            most: speeds.iter().copied().fold(0.0, f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sampler: &str, parameter: &str, value: serde_json::Value) -> Defaults {
        let sampler_parameters = [(parameter.to_string(), value)].into_iter().collect();
        Defaults { sampler: Some(sampler.to_string()), sampler_parameters, ..Defaults::default() }
    }

    fn config() -> TradeoffConfig {
        TradeoffConfig { texts: 6, rounds: 3, seed: 2, prompts: Vec::new() }
    }

    #[test]
    fn few_steps_write_more_tokens_a_pass() {
        let toy = Pipeline::load("toy").expect("the toy");
        let contenders = [
            Contender { pipeline: &toy, request: Defaults::default() },
            Contender { pipeline: &toy, request: request("low_confidence", "steps", 2.into()) },
            Contender { pipeline: &toy, request: request("threshold", "threshold", 0.9.into()) },
        ];
        let mut seen = Vec::new();
        let points = measure(&contenders, &config(), None, &mut |progress| seen.push(progress)).expect("points");
        assert_eq!(seen.len(), 3 * 6 * 3);
        assert_eq!(seen.last(), Some(&Progress { round: 3, written: 54, total: 54 }));
        assert_eq!(points[0].relative_speed, 1.0);
        assert_eq!(points[1].sampler.parameters["steps"], 2);
        assert!(points[1].nfe < points[0].nfe && points[1].tokens_per_nfe > points[0].tokens_per_nfe);
        for point in &points {
            let speed = point.tokens_per_second;
            assert!(0.0 < speed.least && speed.least <= speed.median && speed.median <= speed.most);
            assert!((point.tokens_per_nfe - point.tokens / point.nfe).abs() < 1e-12);
            assert_eq!((point.quality.diversity.texts, point.quality.judge_perplexity), (6, None));
        }
    }

    #[test]
    fn a_judge_reads_the_text_behind_its_prompt() {
        let toy = Pipeline::load("toy").expect("the toy");
        let tokens = |text: &str| toy.tokenizer().encode(text).expect("tokens");
        let sentence = [tokens("the old captain counted the stars at night"), vec![0]].concat();
        let judge = KneserNey::train(3, toy.tokenizer().vocabulary(), [sentence]).expect("a judge");
        let contenders = [Contender { pipeline: &toy, request: Defaults::default() }];
        let perplexity = |prompt: &str| {
            let config = TradeoffConfig { prompts: vec![prompt.to_string()], ..config() };
            let points = measure(&contenders, &config, Some(&judge), &mut |_| ()).expect("points");
            points[0].quality.judge_perplexity.expect("a perplexity")
        };
        assert!(perplexity("the old captain counted") > 1.0);
        assert_ne!(perplexity("the"), perplexity("a"));
    }

    #[test]
    fn texts_that_change_between_rounds_are_told() {
        let toy = Pipeline::load("toy").expect("the toy");
        let contender = Contender { pipeline: &toy, request: Defaults::default() };
        let text = |number| vec![write(&contender, &config(), number).expect("a text")];
        let mut course = Course { outputs: Vec::new(), speeds: Vec::new() };
        course.finish_round(text(0), 1.0, 1).expect("the first round");
        course.finish_round(text(0), 1.0, 2).expect("the same text");
        let error = course.finish_round(text(1), 1.0, 3).expect_err("another text").to_string();
        assert!(error.contains("round 3") && error.contains("seed 2"), "{error}");
    }

    #[test]
    fn nothing_to_measure_is_an_error() {
        let toy = Pipeline::load("toy").expect("the toy");
        let contenders = [Contender { pipeline: &toy, request: Defaults::default() }];
        let without = TradeoffConfig { rounds: 0, ..config() };
        let error = measure(&contenders, &without, None, &mut |_| ()).expect_err("no rounds");
        assert_eq!(error.to_string(), "there are 0 rounds, but at least 1 is needed");
    }

    #[test]
    fn the_middle_of_the_rounds() {
        let speed = Speed::over(&[2.0, 8.0, 4.0]);
        assert_eq!((speed.median, speed.least, speed.most), (4.0, 2.0, 8.0));
    }
}
