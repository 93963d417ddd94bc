//! The model card: a report as a page that a person reads.

use std::fmt::Write;

use crate::report::{BitsPerByte, Report};
use crate::samples::TextReport;

/// What a report does not know about its model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardText {
    /// What the model is and what it is for.
    pub summary: String,
    /// One line per corpus: name, licence, attribution.
    pub data: Vec<String>,
    /// The command that makes model and card.
    pub command: String,
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// The file name of the training curve, if there is one.
    pub curve: Option<String>,
}

/// Renders the card as Markdown.
pub fn render(report: &Report, text: &CardText) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_card(&mut out, report, text);
    out
}

fn write_card(out: &mut String, report: &Report, text: &CardText) -> std::fmt::Result {
    writeln!(out, "# {}\n\n{}\n", report.model, text.summary)?;
    writeln!(out, "{} parameters, trained on {} tokens.\n", report.parameters, report.trained_tokens)?;
    writeln!(out, "## Data\n")?;
    for line in &text.data {
        writeln!(out, "* {line}")?;
    }
    writeln!(out, "\n## Held-out bits per byte\n")?;
    writeln!(
        out,
        "Lower is better. The diffusion model's value is an upper bound of its true value, the others are exact: a bound \
         that is higher than another model's value does not show that the model is worse by as much. ± is one standard \
         error over groups of rows.\n"
    )?;
    let judge = format!("Kneser-Ney {}-gram", report.judge_order);
    let all = report.domains.iter().find(|domain| domain.domain == "all");
    let kind = if all.is_none_or(|all| all.model.bound) { "bound" } else { "exact" };
    writeln!(out, "| text | bytes | this model ({kind}) | autoregressive twin | {judge} |\n|---|---|---|---|---|")?;
    for domain in &report.domains {
        let twin = domain.twin.map_or("-".to_string(), value);
        let (name, bytes, model) = (&domain.domain, domain.bytes, value(domain.model));
        writeln!(out, "| {name} | {bytes} | {model} | {twin} | {:.3} |", domain.judge)?;
    }
    if let Some(all) = all {
        let verdict = if all.model.value < all.judge { "below" } else { "NOT below" };
        let value = if all.model.bound { "bound" } else { "value" };
        writeln!(out, "\nOver all held-out text the model's {value} is {verdict} the {judge} model.")?;
    }
    if let Some(curve) = &text.curve {
        writeln!(out, "\n![held-out bits per byte over the training]({curve})")?;
    }
    writeln!(out, "\n## Texts written from nothing\n")?;
    let texts = report.written.diversity.texts;
    writeln!(
        out,
        "{texts} texts, seeds 0 to {}, the model's own settings: {:.1} tokens and {:.1} function evaluations a text. The \
         judge is the {judge} model of the table above. A low perplexity alone is no merit, since short and common texts have \
         it: read it together with distinct-2 and self-BLEU. The human texts are taken evenly from the corpora without \
         prompts, which is not the mix that the model writes.\n",
        texts.saturating_sub(1),
        report.cost.tokens,
        report.cost.nfe
    )?;
    writeln!(
        out,
        "| texts | judge's perplexity | empty | distinct texts | distinct-2 | self-BLEU-4 |\n|---|---|---|---|---|---|"
    )?;
    for (name, texts) in [
        ("this model", &report.written),
        ("human, held out", &report.human),
        ("human, words shuffled", &report.shuffled),
    ] {
        write_texts(out, name, texts)?;
    }
    if let Some(extraction) = &report.extraction {
        writeln!(
            out,
            "\n## Text to JSON\n\n{} held-out restaurant descriptions, temperature 0, no constraint: {:.1}% of the answers \
             are JSON objects, {:.1}% are right in every field; fields: precision {:.3}, recall {:.3}, F1 {:.3}.",
            extraction.questions,
            100.0 * extraction.valid,
            100.0 * extraction.exact,
            extraction.precision,
            extraction.recall,
            extraction.f1
        )?;
    }
    writeln!(out, "\n## Samples\n\nThe first {} of these texts, not picked.\n", report.samples.len())?;
    for (seed, sample) in report.samples.iter().enumerate() {
        writeln!(out, "{seed}. {}", sample.trim())?;
    }
    writeln!(out, "\n## How it was made\n\n```sh\n{}\n```\n\n```toml\n{}```", text.command, text.recipe)
}

fn value(bits: BitsPerByte) -> String {
    match bits.standard_error {
        Some(error) => format!("{:.3} ± {error:.3}", bits.value),
        None => format!("{:.3}", bits.value),
    }
}

fn write_texts(out: &mut String, name: &str, texts: &TextReport) -> std::fmt::Result {
    let number = |value: Option<f64>, digits: usize| value.map_or("-".to_string(), |value| format!("{value:.digits$}"));
    writeln!(
        out,
        "| {name} | {} | {} | {} | {} | {} |",
        number(texts.judge_perplexity, 1),
        texts.diversity.empty,
        texts.diversity.distinct_texts,
        number(texts.diversity.distinct_2, 3),
        number(texts.self_bleu, 3)
    )
}
