//! What `lldm bench --against` found: as JSON, as a table, as a picture.

use anyhow::{Result, anyhow};
use lldm_diffusion::sampler::registry::find;
use lldm_eval::plot::{self, Mark, Series, TradeoffPicture};
use lldm_eval::samples::TextReport;
use lldm_eval::tradeoff::{Point, TradeoffConfig};
use serde::Serialize;
use serde_json::Value;

use crate::machine::Machine;
use crate::render::plain;

/// The columns of the table.
const HEADER: &[&str] = &[
    "MODEL",
    "SAMPLER",
    "T",
    "TOKENS/S",
    "(RANGE)",
    "VS TWIN",
    "TOKENS/NFE",
    "NFE/TEXT",
    "TOKENS/TEXT",
    "PERPLEXITY",
    "ENTROPY",
    "DISTINCT-2",
    "SELF-BLEU",
    "EMPTY",
    "CUT",
];
/// The column that needs a judge.
const JUDGED: &str = "PERPLEXITY";

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bench {
    /// The day, UTC.
    pub(super) date: String,
    /// The machine.
    pub(super) machine: Machine,
    /// The model, as it was asked for.
    pub(super) model: String,
    /// The twin, as it was asked for.
    pub(super) twin: String,
    /// How much was measured.
    #[serde(flatten)]
    pub(super) config: TradeoffConfig,
    /// The judge, if there was one.
    pub(super) judge: Option<JudgeReport>,
    /// Held-out human text, if there was any.
    pub(super) human: Option<TextReport>,
    /// The twin, then the model under each setting.
    pub(super) rows: Vec<Point>,
}

/// A judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct JudgeReport {
    /// The tokens of its longest n-gram.
    pub(super) order: usize,
    /// What it was trained on.
    pub(super) text: String,
}

impl Bench {
    /// The table with the conditions under it.
    pub(super) fn table(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (at, point) in self.rows.iter().enumerate() {
            let speed = point.tokens_per_second;
            let mut row = vec![
                if at == 0 { "twin" } else { "model" }.to_string(),
                setting(point),
                format!("{}", point.sampler.temperature),
                format!("{:.0}", speed.median),
                format!("{:.0} to {:.0}", speed.least, speed.most),
                format!("{:.2}x", point.relative_speed),
                format!("{:.2}", point.tokens_per_nfe),
                format!("{:.1}", point.nfe),
                format!("{:.1}", point.tokens),
            ];
            row.extend(quality(&point.quality));
            row.push(point.cut.to_string());
            rows.push(row);
        }
        if let Some(human) = &self.human {
            let mut row = vec!["human".to_string(), "held out".to_string()];
            row.extend(std::iter::repeat_n("-".to_string(), 7));
            row.extend(quality(human));
            row.push("-".to_string());
            rows.push(row);
        }
        let mut header = HEADER.to_vec();
        if self.judge.is_none()
            && let Some(column) = header.iter().position(|name| *name == JUDGED)
        {
            header.remove(column);
            for row in &mut rows {
                row.remove(column);
            }
        }
        format!("{}\n\n{}", plain::table(&header, &rows), self.conditions())
    }

    /// Speed against perplexity.
    pub(super) fn picture(&self) -> Result<String> {
        let mark = |point: &Point, label: String| {
            let perplexity = point.quality.judge_perplexity;
            let perplexity = perplexity.ok_or_else(|| anyhow!("no perplexity, so no picture: no token was written"))?;
            Ok::<_, anyhow::Error>(Mark { label, speed: point.relative_speed, perplexity })
        };
        let (twin, points) = self.rows.split_first().ok_or_else(|| anyhow!("nothing was measured"))?;
        let mut series: Vec<Series> = Vec::new();
        for (sampler, name, varied) in [
            ("low_confidence", "low_confidence, by steps", "steps"),
            ("threshold", "threshold, by its value", "threshold"),
        ] {
            // A setting that wrote no token has neither speed nor perplexity.
            let own = points.iter().filter(|point| point.sampler.name == sampler && point.tokens > 0.0);
            let marks = own.map(|point| mark(point, point.sampler.parameters[varied].to_string()));
            series.push(Series { name: name.to_string(), marks: marks.collect::<Result<_>>()? });
        }
        series.retain(|series| !series.marks.is_empty());
        let twin = mark(twin, format!("the twin ({})", setting(twin)))?;
        let human = self.human.as_ref().and_then(|human| human.judge_perplexity);
        let Machine { cpu, threads, kernel, .. } = &self.machine;
        let caption = format!("{cpu}, {threads} threads, kernel {kernel}, {}", self.date);
        Ok(plot::tradeoff(&TradeoffPicture { caption, series, twin, human })?)
    }

    /// What was measured, where and how.
    fn conditions(&self) -> String {
        let Self { date, machine, model, twin, config, .. } = self;
        let limit = self.rows.first().map_or(0, |point| point.sampler.max_tokens);
        let block = self.rows.last().map_or(0, |point| point.sampler.block_length);
        let prompts = match config.prompts.len() {
            0 => "from nothing".to_string(),
            1 => "behind one prompt".to_string(),
            count => format!("behind {count} prompts in turn"),
        };
        let mut lines = vec![
            format!(
                "{model} against its twin {twin}; {date}, {}, {} threads, kernel {}",
                machine.cpu, machine.threads, machine.kernel
            ),
            format!(
                "{} texts {prompts}, seeds from {}, at most {limit} tokens, the model in blocks of {block}; one text at a time, \
                 {} rounds in turn",
                config.texts, config.seed, config.rounds
            ),
            "tokens are those before a text's end; speed and its ratio to the twin are medians over the rounds"
                .to_string(),
        ];
        if let Some(judge) = &self.judge {
            lines.push(format!(
                "perplexity per token, ends included, under a Kneser-Ney {}-gram model of {}; low alone is no merit",
                judge.order, judge.text
            ));
        }
        lines.push("entropy of a text's own tokens, in nats; cut are texts that the limit of tokens ended".to_string());
        lines.join("\n")
    }
}

/// The sampler with its first parameter, which is the one that is varied, and what else is not at its default.
fn setting(point: &Point) -> String {
    let described = find(&point.sampler.name).map_or(&[][..], |spec| spec.parameters);
    let plain = |name: &str, value: &Value| {
        described.iter().skip(1).any(|parameter| parameter.name == name && parameter.default_value() == *value)
    };
    let parameters = point.sampler.parameters.as_object().into_iter().flatten();
    let parameters = parameters.filter(|(name, value)| !plain(name, value));
    let parameters = parameters.map(|(name, value)| format!(" {name}={value}"));
    format!("{}{}", point.sampler.name, parameters.collect::<String>())
}

/// The columns that human text has, too.
fn quality(texts: &TextReport) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_string(), |value| format!("{value:.digits$}"));
    vec![
        number(texts.judge_perplexity, 1),
        number(texts.unigram_entropy, 2),
        number(texts.diversity.distinct_2, 2),
        number(texts.self_bleu, 2),
        texts.diversity.empty.to_string(),
    ]
}
