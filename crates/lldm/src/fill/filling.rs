//! Writes the gaps of a text.
//!
//! Most of the kept text is given as tokens, so that the model sees both sides; what remains of it is spelled under a constraint. How
//! many tokens a gap has is drawn from a first prediction (`align.rs`), unless a text is only noised in part: then the cells stay.

use std::ops::RangeInclusive;

use lldm_control::constraint::{Infill, Piece};
use lldm_control::{Constraints, Joint};
use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::{Condition, LogitTransform, Observer, State, StepInput, Token};
use lldm_models::Defaults;
use serde::Serialize;

use super::align;
use super::layout::{Layout, Part};
use super::text::{FillText, wrong};
use crate::error::Result;
use crate::output::Output;
use crate::pipeline::Pipeline;
use crate::prompt::Prompt;
use crate::vocabulary::never_written;

/// The most tokens of a gap where nothing is said.
const MOST_TOKENS: usize = 16;
/// What a gap holds where nothing is said: something, without space at its ends.
const SOMETHING: &str = r"\S(?:(?s:.)*\S)?";
/// The same for a gap that held space at its ends.
const ANYTHING: &str = "(?s:.)+";
/// What goes on with no word.
const NO_WORD: &str = r"[^\p{Alphabetic}\p{N}_]";

/// A filling being set up.
#[must_use = "a filling does nothing until it is run"]
pub struct Fill<'a> {
    pipeline: &'a Pipeline,
    text: FillText,
    gap: Option<String>,
    tokens: RangeInclusive<usize>,
    strength: Option<f64>,
    request: Defaults,
    seed: u64,
    observer: Option<Box<dyn Observer + 'a>>,
}

/// A filled text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filled {
    /// The whole text.
    pub text: String,
    /// What was written into each gap.
    pub gaps: Vec<String>,
    /// How it was written; its text is that of the canvas.
    pub output: Output,
}

/// What is given on a canvas, and what the constraint sees to.
pub(super) struct Plan {
    /// The text in front of the canvas, and its tokens as far as the model sees them.
    head: String,
    prefix: Vec<Token>,
    pins: Vec<(usize, Token)>,
    /// Cells, that of an end token that is given included.
    cells: usize,
    pieces: Vec<Piece>,
    /// Kept text behind what the model sees.
    rest: String,
}

impl Pipeline {
    /// Sets up the filling of a text.
    pub fn fill(&self, text: FillText) -> Fill<'_> {
        Fill {
            pipeline: self,
            text,
            gap: None,
            tokens: 1..=MOST_TOKENS,
            strength: None,
            request: Defaults::default(),
            seed: 0,
            observer: None,
        }
    }
}

impl<'a> Fill<'a> {
    /// An expression that every gap matches.
    pub fn gap(mut self, expression: &str) -> Self {
        self.gap = Some(expression.to_string());
        self
    }

    /// How many tokens a gap may have.
    pub fn gap_tokens(mut self, tokens: RangeInclusive<usize>) -> Self {
        self.tokens = tokens;
        self
    }

    /// How far the text of the gaps is noised, from 0 to 1: the time t of the model's noise. What survives is kept, token by token, and
    /// the number of tokens with it.
    pub fn strength(mut self, strength: f64) -> Self {
        self.strength = Some(strength);
        self
    }

    /// Settings of the sampling.
    pub fn request(mut self, values: Defaults) -> Self {
        self.request = values.or(self.request);
        self
    }

    /// The seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Watches every frame.
    pub fn observe(mut self, observer: impl Observer + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Fills the gaps.
    ///
    /// # Errors
    /// Where the model does not see both sides of a gap, or the text is too long for it.
    pub fn run(mut self) -> Result<Filled> {
        let info = self.pipeline.model.denoiser.info();
        if info.canvas_length == Some(1) || info.canvas_grid.is_some() {
            return Err(wrong(format!(
                "`{}` does not see what stands behind a gap: filling needs a model with full attention",
                self.pipeline.model.name
            )));
        }
        let plan = match self.strength {
            None => self.arranged()?,
            Some(strength) if (0.0..=1.0).contains(&strength) => self.noised(strength)?,
            Some(strength) => return Err(wrong(format!("the strength is {strength}, but lies between 0 and 1"))),
        };
        let joint = self.joint(&plan)?;
        let constraints = Constraints::new().with(Infill(plan.pieces.clone()));
        let mut prompt = Prompt::tokens(plan.prefix.clone()).joint(joint);
        for (at, token) in &plan.pins {
            prompt = prompt.pin(*at, *token);
        }
        let request =
            Defaults { max_tokens: Some(plan.cells), canvas_length: Some(plan.cells), ..self.request.clone() };
        let mut generate = self.pipeline.generate(prompt).request(request).constraints(constraints).seed(self.seed);
        if let Some(observer) = self.observer.take() {
            generate = generate.observer(observer);
        }
        let output = generate.run()?;
        let mut bytes = Vec::new();
        for token in &output.tokens {
            bytes.extend_from_slice(self.pipeline.spelled()?.bytes(*token));
        }
        let written = String::from_utf8_lossy(&bytes).into_owned();
        let written = if joint == Joint::Space { written.strip_prefix(' ').unwrap_or(&written) } else { &written };
        let text = [plan.head.as_str(), written, &plan.rest].concat();
        let gaps = self.gaps_of(&text);
        Ok(Filled { text, gaps, output })
    }

    /// What stands between the head and the canvas.
    fn joint(&self, plan: &Plan) -> Result<Joint> {
        let spaced = self.pipeline.spelled()?.first_without_space && plan.head.is_empty();
        Ok(if spaced { Joint::Space } else { Joint::None })
    }

    /// The expression of a gap.
    fn expression(&self, gap: usize) -> String {
        let spaced = |text: &String| text.trim() != text;
        let usual = || match &self.text.gaps[gap] {
            Some(text) if spaced(text) => ANYTHING.to_string(),
            _ if self.text.whole_words => {
                let inner = |text: Option<char>| text.is_some_and(char::is_alphanumeric);
                between(inner(self.text.kept[gap].chars().last()), inner(self.text.kept[gap + 1].chars().next()))
            }
            _ => SOMETHING.to_string(),
        };
        self.gap.clone().unwrap_or_else(usual)
    }

    /// The gaps at the lengths that a first prediction makes probable.
    fn arranged(&self) -> Result<Plan> {
        let (pipeline, info) = (self.pipeline, self.pipeline.model.denoiser.info());
        let Layout { head, prefix, mut parts } = Layout::new(&self.text, &pipeline.model.tokenizer)?;
        let ranges = self.ranges(&parts, prefix.is_empty())?;
        let given = |parts: &[Part]| parts.iter().map(|part| part.tokens.len()).sum::<usize>();
        // The canvas gets what the prefix leaves of the model's sight, and at least half of it.
        let room = info.canvas_length.unwrap_or(info.max_length - prefix.len().min(info.max_length / 2));
        let fewest = ranges.iter().map(|range| *range.start()).sum::<usize>() + 1;
        let mut rest = String::new();
        let over = (given(&parts) + fewest).saturating_sub(room);
        if over > 0 {
            rest = self.cut_last(&mut parts, over)?;
        }
        let most = ranges.iter().map(|range| *range.end()).sum::<usize>();
        let cells = room.min(given(&parts) + most + 1);
        let prefix = prefix[prefix.len().saturating_sub(info.max_length - cells)..].to_vec();
        let lengths = self.lengths(&prefix, &parts, &ranges, cells, rest.is_empty())?;

        let (mut pins, mut at) = (Vec::new(), 0);
        let mut pieces = Vec::new();
        for ((number, part), length) in parts.iter().enumerate().zip(lengths) {
            at += length;
            pins.extend((at..).zip(part.tokens.iter().copied()));
            at += part.tokens.len();
            pieces.push(Piece::Kept(part.before.clone()));
            pieces.push(Piece::Gap(self.expression(number)));
            pieces.push(Piece::Kept(format!("{}{}", part.after, part.given)));
        }
        self.end(&mut pins, &mut at, cells, &rest);
        Ok(Plan { head, prefix, pins, cells: at, pieces, rest })
    }

    /// Tokens that each gap may have.
    fn ranges(&self, parts: &[Part], begins: bool) -> Result<Vec<RangeInclusive<usize>>> {
        let spelled = self.pipeline.spelled()?;
        let (from, to) = (*self.tokens.start(), *self.tokens.end());
        if from == 0 || from > to {
            return Err(wrong(format!("a gap cannot have from {from} to {to} tokens")));
        }
        let range = |(number, part): (usize, &Part)| {
            let pieces = [
                Piece::Kept(part.before.clone()),
                Piece::Gap(self.expression(number)),
                Piece::Kept(part.after.clone()),
            ];
            let joint = if number == 0 && begins && spelled.first_without_space { Joint::Space } else { Joint::None };
            let fewest = Constraints::new()
                .with(Infill(pieces.into()))
                .compile_cached(&spelled.vocabulary, joint, &self.pipeline.cache)?
                .fewest_tokens();
            // The letters that are spelled come on top.
            Ok(fewest.max(from)..=(to + part.fewest - 1).max(fewest))
        };
        parts.iter().enumerate().map(range).collect()
    }

    /// Takes `over` tokens from the end of the last kept text, and a few more where they end within a letter; tells their text.
    fn cut_last(&self, parts: &mut [Part], over: usize) -> Result<String> {
        let spelled = self.pipeline.spelled()?;
        let too_long = || {
            wrong("the text around the gaps is longer than what the model sees: fill one gap at a time, or shorten it")
        };
        let part = parts.last_mut().ok_or_else(too_long)?;
        let mut count = part.tokens.len().checked_sub(over).ok_or_else(too_long)?;
        let bytes = |count: usize| -> Vec<u8> {
            part.tokens[..count].iter().flat_map(|token| spelled.bytes(*token)).copied().collect()
        };
        while count > 0 && !part.given.as_bytes().starts_with(&bytes(count))
            || std::str::from_utf8(&bytes(count)).is_err()
        {
            count -= 1;
        }
        let length = bytes(count).len();
        let rest = part.given[length..].to_string();
        part.tokens.truncate(count);
        part.given.truncate(length);
        Ok(rest)
    }

    /// Gives an end token behind the text, where nothing else follows and there is room.
    fn end(&self, pins: &mut Vec<(usize, Token)>, at: &mut usize, cells: usize, rest: &str) {
        let end = self.pipeline.model.denoiser.info().end.first().copied();
        if let (Some(end), true, true) = (end, rest.is_empty(), *at < cells) {
            pins.push((*at, end));
            *at += 1;
        }
    }

    /// The lengths of the gaps, drawn from the prediction for a canvas of noise.
    fn lengths(
        &self,
        prefix: &[Token],
        parts: &[Part],
        ranges: &[RangeInclusive<usize>],
        cells: usize,
        ends: bool,
    ) -> Result<Vec<usize>> {
        let model = &self.pipeline.model;
        let rng = Rng::new(self.seed, 0).at(0, u32::MAX as usize - 1);
        let noise = model.noise.prior(model.denoiser.info().canvas_length.unwrap_or(cells), &rng);
        let mut context = model.denoiser.prefill(prefix)?;
        let input = StepInput {
            state: State::Tokens(&noise),
            time: 1.0,
            temperature: 1.0,
            previous: None,
            condition: Condition::Given,
        };
        let prediction = model.denoiser.denoise(&input, &mut context)?;
        let given: Vec<Token> = parts.iter().flat_map(|part| part.tokens.iter().copied()).collect();
        let end = model.denoiser.info().end.first().copied();
        let wanted: Vec<Token> = given.iter().copied().chain(end).collect();
        let targets: Vec<_> = (0..cells).flat_map(|cell| wanted.iter().map(move |token| (cell, *token))).collect();
        let transform = LogitTransform { banned: never_written(model), ..LogitTransform::default() };
        let logs = prediction.log_probabilities(&targets, &transform)?;
        // A token that the prediction excludes is given all the same.
        let log = |cell: usize, number: usize| logs[cell * wanted.len() + number].max(-1e3);
        let first = |gap: usize| parts[..gap].iter().map(|part| part.tokens.len()).sum::<usize>();
        let log_given =
            |gap: usize, at: usize| (0..parts[gap].tokens.len()).map(|n| log(at + n, first(gap) + n)).sum::<f64>();
        let log_end = |cell: usize| match end {
            Some(_) if ends && cell < cells => log(cell, given.len()),
            _ => 0.0,
        };
        let log_gap = |cell: usize| if end.is_some() { (-log(cell, given.len()).exp()).ln_1p().max(-1e3) } else { 0.0 };
        let settings = self.pipeline.settings_for(&self.request)?;
        let uniform = |gap: usize| rng.uniform(gap, Purpose::Position);
        let uniform: Option<&dyn Fn(usize) -> f64> = if settings.temperature > 0.0 { Some(&uniform) } else { None };
        let given_counts: Vec<_> = parts.iter().map(|part| part.tokens.len()).collect();
        let blocks = align::Blocks { gaps: ranges, given: &given_counts, cells };
        align::draw(&blocks, &log_given, &log_gap, &log_end, uniform).ok_or_else(|| {
            wrong(format!("the gaps and the text around them do not fit into the {cells} tokens that the model sees"))
        })
    }

    /// The text of the gaps noised until t = `strength`, in its own tokens.
    fn noised(&self, strength: f64) -> Result<Plan> {
        let (pipeline, info) = (self.pipeline, self.pipeline.model.denoiser.info());
        let Some(gaps) = self.text.gaps.iter().cloned().collect::<Option<Vec<_>>>() else {
            return Err(wrong("a strength needs text to start from: name the spans of a text, not gaps"));
        };
        let text = self.text.filled(&gaps);
        let tokens = pipeline.model.tokenizer.encode(&text)?;
        let places = self.places(&text, &tokens)?;
        let alpha = pipeline.model.noise.marginal(strength).alpha;
        let rng = Rng::new(self.seed, 0).at(0, u32::MAX as usize - 1);
        let uniform = |at: usize| rng.uniform(at, Purpose::Corrupt);
        let (mut open, mut from, mut start) = (vec![false; tokens.len()], 0, None);
        for (kept, gap) in self.text.kept.iter().zip(&gaps) {
            let span = from + kept.len()..from + kept.len() + gap.len();
            from = span.end;
            let inside = (0..tokens.len()).filter(|at| places[*at].0 < span.end && places[*at].1 > span.start);
            let inside: Vec<_> = inside.collect();
            // What is a part of kept text, too, is spelled anew.
            let cut = |at: &usize| places[*at].0 < span.start || places[*at].1 > span.end;
            inside.iter().filter(|at| cut(at) || uniform(**at) >= alpha).for_each(|at| open[*at] = true);
            // The canvas begins with the first gap that changes.
            start = start.or(inside.first().copied().filter(|_| inside.iter().any(|at| open[*at])));
        }
        let Some(start) = start else {
            return Err(wrong(format!(
                "at strength {strength} nothing of this text is noised under this seed: choose more"
            )));
        };
        let room = info.canvas_length.unwrap_or(info.max_length - start.min(info.max_length / 2));
        let last = open.iter().rposition(|open| *open).unwrap_or(start);
        if last + 1 - start > room {
            return Err(wrong(format!("the spans lie {} tokens apart, but the model sees {room}", last + 1 - start)));
        }
        let mut stop = tokens.len().min(start + room);
        while !text.is_char_boundary(places[stop - 1].1) {
            stop -= 1;
        }
        let prefix = tokens[..start][start.saturating_sub(info.max_length - room.min(stop + 1 - start))..].to_vec();
        let mut pins: Vec<_> = (start..stop).filter(|at| !open[*at]).map(|at| (at - start, tokens[at])).collect();
        let (first, end) = (places[start].0, places[stop - 1].1);
        let (mut pieces, mut from) = (Vec::new(), 0);
        for (number, kept) in self.text.kept.iter().enumerate() {
            let piece = from.clamp(first, end)..(from + kept.len()).clamp(first, end);
            pieces.push(Piece::Kept(text[piece].to_string()));
            from += kept.len();
            if let Some(gap) = gaps.get(number) {
                // A gap before the canvas has survived.
                if from >= first {
                    pieces.push(Piece::Gap(self.gap.clone().unwrap_or_else(|| ANYTHING.to_string())));
                }
                from += gap.len();
            }
        }
        let (head, rest) = (text[..first].to_string(), text[end..].to_string());
        let mut cells = stop - start;
        self.end(&mut pins, &mut cells, room, &rest);
        Ok(Plan { head, prefix, pins, cells, pieces, rest })
    }

    /// The bytes of each token of a text.
    fn places(&self, text: &str, tokens: &[Token]) -> Result<Vec<(usize, usize)>> {
        let spelled = self.pipeline.spelled()?;
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for token in tokens {
            bytes.extend_from_slice(spelled.bytes(*token));
            ends.push(bytes.len());
        }
        let skipped = usize::from(spelled.first_without_space && bytes.first() == Some(&b' '));
        if bytes[skipped..] != *text.as_bytes() {
            return Err(wrong("the tokenizer of this model changes this text: a part of it cannot be noised alone"));
        }
        let at = |end: usize| end.saturating_sub(skipped);
        Ok(ends.windows(2).map(|pair| (at(pair[0]), at(pair[1]))).collect())
    }

    /// What was written into the gaps.
    fn gaps_of(&self, text: &str) -> Vec<String> {
        let mut gaps = Vec::new();
        let mut from = self.text.kept[0].len();
        for (number, kept) in self.text.kept.iter().enumerate().skip(1) {
            let last = number + 1 == self.text.kept.len();
            let to = match last {
                true => text.len() - kept.len(),
                // At least one letter stands in a gap.
                false => {
                    let least = text[from..].chars().next().map_or(0, char::len_utf8);
                    text[from + least..].find(kept.as_str()).map_or(text.len(), |at| from + least + at)
                }
            };
            gaps.push(text[from..to].to_string());
            from = to + kept.len();
        }
        gaps
    }
}

/// Something between a word, where there is one before it, and a word, where there is one behind.
fn between(before: bool, behind: bool) -> String {
    match (before, behind) {
        (false, false) => ANYTHING.to_string(),
        (true, false) => format!("{NO_WORD}(?s:.)*"),
        (false, true) => format!("(?s:.)*{NO_WORD}"),
        (true, true) => format!("{NO_WORD}(?:(?s:.)*{NO_WORD})?"),
    }
}
