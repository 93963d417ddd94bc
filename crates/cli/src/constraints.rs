//! The flags that hold a text to a form, and what `--explain` tells of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use lldm::control::cache::Origin;
use lldm::control::constraint::{
    Banned, Case, Choice, EndsWith, Grammar, JsonSchema, Keywords, Match, Order, Regex, Sentences, StartsWith,
    Template, Words, shipped,
};
use lldm::control::engine::Figures;
use lldm::control::{Budget, Cache, Compiled, Constraints};
use lldm::diffusion::{Constraint, Frame, Guarantee};
use lldm::output::UsedParticles;
use lldm::{Pipeline, diffusion};

use crate::render::plain;

/// The constraint flags. All that are given hold together.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Constraints")]
pub(crate) struct ConstraintArgs {
    /// Words that must stand in the text, separated by commas (`\,` is a comma); without --length or a form, it is one sentence
    #[arg(long, value_name = "WORDS")]
    pub(crate) must_include: Vec<String>,
    /// Words of which one must stand in the text
    #[arg(long, value_name = "WORDS")]
    pub(crate) any_of: Vec<String>,
    /// The words of --must-include stand one behind the other
    #[arg(long, requires = "must_include")]
    pub(crate) in_order: bool,
    /// Words that must not stand in the text
    #[arg(long, value_name = "WORDS")]
    pub(crate) banned: Vec<String>,
    /// Words also count within longer words
    #[arg(long)]
    pub(crate) substring: bool,
    /// Upper and lower case of words are not told apart
    #[arg(long)]
    pub(crate) ignore_case: bool,
    /// An expression that the whole text matches, in the syntax of the Rust crate `regex`
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Vec<String>,
    /// A JSON Schema (draft 2020-12) that the text is valid under: a file, or the schema itself
    #[arg(long, value_name = "FILE|JSON")]
    pub(crate) json_schema: Option<String>,
    /// A grammar that derives the text: json, python-expression, sql-select, or a file in the form of Lark or (.gbnf) GBNF
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) grammar: Option<String>,
    /// Levels of nesting that a schema or a grammar may reach [default: 4; a shipped grammar has its own]
    #[arg(long, value_name = "LEVELS")]
    pub(crate) depth: Option<u32>,
    /// A text with gaps: `Dear ____, yours ____{2,20}`
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) template: Option<String>,
    /// The text is one of these, separated by commas
    #[arg(long, value_name = "TEXTS")]
    pub(crate) choices: Vec<String>,
    /// How long the text is: 5..12words, 40tokens, ..3sentences, 100..tokens; both ends are included
    #[arg(long, value_name = "RANGE")]
    pub(crate) length: Vec<String>,
    /// How the text begins
    #[arg(long, value_name = "TEXT")]
    pub(crate) starts_with: Option<String>,
    /// How the text ends
    #[arg(long, value_name = "TEXT")]
    pub(crate) ends_with: Option<String>,
    /// The most states that the compilation of the constraints may come to [default: 50000]
    #[arg(long, value_name = "STATES")]
    pub(crate) constraint_states: Option<usize>,
    /// The most seconds that it may take [default: 20]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) constraint_seconds: Option<u64>,
    /// Tell what the constraints came to: states, classes, time, ln Z at each step, the guarantee
    #[arg(long, conflicts_with = "input")]
    pub(crate) explain: bool,
}

/// Compiled constraints of earlier runs, in the user's cache folder where there is one.
pub(crate) fn cache() -> Arc<Cache> {
    let cache = Cache::default();
    Arc::new(match dirs::cache_dir() {
        Some(folder) => cache.with_folder(folder.join("lldm").join("constraints"), Cache::FILE_BYTES),
        None => cache,
    })
}

/// What `--explain` tells of the steps.
pub(crate) struct Explained {
    compiled: Compiled,
    /// Step and ln Z.
    steps: Vec<(usize, f64)>,
}

/// What a length counts.
enum Unit {
    Tokens,
    Words,
    Sentences,
}

impl ConstraintArgs {
    /// The constraints that the flags ask for.
    pub(crate) fn read(&self) -> Result<Constraints> {
        let mut budget = Budget::default();
        budget.states = self.constraint_states.unwrap_or(budget.states);
        budget.time = self.constraint_seconds.map_or(budget.time, Duration::from_secs);
        let mut all = Constraints::new().budget(budget);
        let matches = if self.substring { Match::Substring } else { Match::Word };
        let case = if self.ignore_case { Case::Any } else { Case::Exact };
        let keywords = |words, order| Keywords { words, order, matches, case };
        if !self.must_include.is_empty() {
            let order = if self.in_order { Order::InOrder } else { Order::All };
            all = all.with(keywords(list("--must-include", &self.must_include)?, order));
        }
        if !self.any_of.is_empty() {
            all = all.with(keywords(list("--any-of", &self.any_of)?, Order::Any));
        }
        if !self.banned.is_empty() {
            all = all.with(Banned { words: list("--banned", &self.banned)?, matches, case });
        }
        if (self.substring || self.ignore_case)
            && self.must_include.is_empty()
            && self.any_of.is_empty()
            && self.banned.is_empty()
        {
            bail!(
                "--substring and --ignore-case say how words count, but no words are given: name some with --must-include, --any-of or --banned"
            );
        }
        for regex in &self.regex {
            all = all.with(Regex(regex.clone()));
        }
        if let Some(schema) = &self.json_schema {
            let mut schema = JsonSchema::new(read_schema(schema)?);
            schema.depth = self.depth.unwrap_or(schema.depth);
            all = all.with(schema);
        }
        if let Some(grammar) = &self.grammar {
            let grammar = read_grammar(grammar)?;
            let depth = self.depth.unwrap_or(grammar.depth);
            all = all.with(grammar.with_depth(depth));
        }
        if self.depth.is_some() && self.json_schema.is_none() && self.grammar.is_none() {
            bail!(
                "--depth bounds the nesting of a schema or a grammar, but none is given: name one with --json-schema or --grammar"
            );
        }
        if let Some(template) = &self.template {
            all = all.with(Template(template.clone()));
        }
        if !self.choices.is_empty() {
            all = all.with(Choice(list("--choices", &self.choices)?));
        }
        for length in &self.length {
            let (from, to, unit) = range(length)?;
            all = match unit {
                Unit::Tokens => all.tokens(from as usize, to.map(|to| to as usize)),
                Unit::Words => all.with(Words { from, to }),
                Unit::Sentences => all.with(Sentences { from, to }),
            };
        }
        if let Some(text) = &self.starts_with {
            all = all.with(StartsWith(text.clone()));
        }
        if let Some(text) = &self.ends_with {
            all = all.with(EndsWith(text.clone()));
        }
        if self.explain && all.is_empty() {
            bail!("--explain tells of constraints, but none is given");
        }
        Ok(all)
    }

    /// The same for a model: where words must stand in the text and nothing says how long it is, it is one sentence, if the model
    /// can end one.
    pub(crate) fn complete(&self, all: Constraints, pipeline: &Pipeline) -> Result<Constraints> {
        let form = self.regex.len() + self.choices.len() + self.length.len();
        let form = form > 0
            || self.json_schema.is_some()
            || self.grammar.is_some()
            || self.template.is_some()
            || self.ends_with.is_some();
        if self.must_include.is_empty() || form {
            return Ok(all);
        }
        let ends = |(_, bytes): (_, &[u8])| bytes.iter().any(|byte| b".!?".contains(byte));
        match pipeline.vocabulary()?.tokens().any(ends) {
            true => Ok(all.with(Sentences { from: 1, to: Some(1) })),
            false => Ok(all),
        }
    }
}

impl Explained {
    /// For these constraints.
    pub(crate) fn new(compiled: Compiled) -> Self {
        Self { compiled, steps: Vec::new() }
    }

    /// Notes a frame.
    pub(crate) fn see(&mut self, frame: &Frame) {
        // A canvas that opens or closes shows the last step once more.
        if let Some(log_z) = frame.log_z.filter(|_| self.steps.last().is_none_or(|(step, _)| *step < frame.step)) {
            self.steps.push((frame.step, log_z));
        }
    }

    /// Tells it all.
    pub(crate) fn tell(&self, cache: &Cache, particles: Option<UsedParticles>) {
        let Figures { byte_states, states, classes, bytes, lift, origin } = self.compiled.figures();
        let from = match origin {
            Origin::Compiled => "",
            Origin::Memory | Origin::File => ", now from the cache",
        };
        plain::note(&format!(
            "constraint: {byte_states} states over bytes, {states} over tokens, {classes} classes of tokens, at least {} tokens, \
             compiled in {:.1} ms{from}",
            self.compiled.fewest_tokens(),
            1e3 * (bytes + lift).as_secs_f64()
        ));
        if let Some(problem) = cache.problem() {
            plain::note(&format!("it could not be kept for later runs: {problem}"));
        }
        for (step, log_z) in &self.steps {
            // Not minus zero.
            let log_z = if *log_z > -5e-4 { 0.0 } else { *log_z };
            plain::note(&format!("step {step}: ln Z {log_z:.3}"));
        }
        if let Some(UsedParticles { count, resampled, log_evidence }) = particles {
            plain::note(&format!(
                "{count} particles, drawn anew {resampled} times; ln of the probability that the model writes a valid text, as they \
                 estimate it: {log_evidence:.3}"
            ));
        }
        plain::note(&format!("guarantee: {}", guarantee(self.compiled.guarantee())));
    }
}

/// A guarantee in words.
pub(crate) fn guarantee(guarantee: Guarantee) -> String {
    match guarantee {
        diffusion::Guarantee::Exact => {
            "exact: every text fulfils the constraints, and each step's draw follows its prediction".to_string()
        }
        diffusion::Guarantee::ExactBoundedDepth(depth) => format!("exact, up to {depth} levels of nesting"),
        diffusion::Guarantee::Verified => "verified: the text was checked, but is no exact draw".to_string(),
        diffusion::Guarantee::BestEffort => "none: the text may break the constraints".to_string(),
    }
}

/// The members of comma-separated lists.
fn list(flag: &str, lists: &[String]) -> Result<Vec<String>> {
    let mut members = Vec::new();
    for list in lists {
        let mut member = String::new();
        let mut letters = list.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if letters.as_str().starts_with([',', '\\']) => member.extend(letters.next()),
                ',' => members.push(std::mem::take(&mut member)),
                letter => member.push(letter),
            }
        }
        members.push(member);
    }
    if members.iter().any(String::is_empty) {
        bail!("{flag} has an empty member: separate members by single commas, and write `\\,` for a comma within one");
    }
    Ok(members)
}

fn read_schema(argument: &str) -> Result<serde_json::Value> {
    let (text, place) = if argument.trim_start().starts_with(['{', 't', 'f']) && !Path::new(argument).exists() {
        (argument.to_string(), "--json-schema".to_string())
    } else {
        let text = std::fs::read_to_string(argument).map_err(|error| {
            anyhow!("cannot read the schema {argument}: {error}; --json-schema takes a file, or a schema in braces")
        })?;
        (text, argument.to_string())
    };
    serde_json::from_str(&text).map_err(|error| anyhow!("{place} is no JSON: {error}"))
}

/// A shipped grammar, or one in a file.
fn read_grammar(argument: &str) -> Result<Grammar> {
    let path = Path::new(argument);
    let is_file = path.extension().is_some() || path.components().count() > 1 || path.is_file();
    if !is_file {
        return Ok(shipped(argument)?);
    }
    let text = std::fs::read_to_string(path).map_err(|error| anyhow!("cannot read the grammar {argument}: {error}"))?;
    Ok(match path.extension().is_some_and(|extension| extension == "gbnf") {
        true => Grammar::gbnf(&text)?,
        false => Grammar::lark(&text)?,
    })
}

/// `5..12words`, `7 words`, `..3sentences`, `10..tokens`.
fn range(text: &str) -> Result<(u32, Option<u32>, Unit)> {
    let wrong =
        || anyhow!("--length is `{text}`, but is written like 5..12words, 40tokens, ..3sentences or 100..tokens");
    let at = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (numbers, unit) = text.split_at(at);
    let unit = match unit.trim() {
        "token" | "tokens" => Unit::Tokens,
        "word" | "words" => Unit::Words,
        "sentence" | "sentences" => Unit::Sentences,
        _ => return Err(wrong()),
    };
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (from, to) = match numbers.trim().split_once("..") {
        None => {
            let exactly = number(numbers)?;
            (exactly, Some(exactly))
        }
        Some(("", "")) => return Err(wrong()),
        Some((from, to)) => {
            let to = to.trim_start_matches('=');
            let from = if from.is_empty() { 0 } else { number(from)? };
            (from, if to.is_empty() { None } else { Some(number(to)?) })
        }
    };
    match to {
        Some(to) if to < from => bail!("--length is `{text}`, but {from} is more than {to}"),
        _ => Ok((from, to, unit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas() {
        let split = |text: &str| list("--choices", &[text.to_string()]).unwrap();
        assert_eq!(split("a,b c"), ["a", "b c"]);
        assert_eq!(split(r"a\,b,c\\,d\n"), [r"a,b", r"c\", r"d\n"]);
        assert!(list("--banned", &["a,,b".to_string()]).is_err());
    }

    #[test]
    fn lengths_have_one_or_two_ends() {
        let ends = |text: &str| range(text).map(|(from, to, _)| (from, to)).map_err(|error| error.to_string());
        assert_eq!(ends("5..12words"), Ok((5, Some(12))));
        assert_eq!(ends("7 words"), Ok((7, Some(7))));
        assert_eq!(ends("..3sentences"), Ok((0, Some(3))));
        assert_eq!(ends("100..tokens"), Ok((100, None)));
        for wrong in ["", "5", "words", "..words", "5-7words", "a..bwords", "5..7lines"] {
            assert!(ends(wrong).unwrap_err().contains("is written like"), "{wrong}");
        }
        assert!(ends("9..2words").unwrap_err().contains("9 is more than 2"));
    }
}
