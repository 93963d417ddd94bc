//! Structured extraction: a text is given, a JSON object is asked for, and each of its fields is compared.

use serde::Serialize;
use serde_json::{Map, Value};

use lldm::{Pipeline, Prompt};

use crate::error::Result;

/// One question with its right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What the model is given.
    pub prompt: String,
    /// The JSON object that is right.
    pub answer: String,
}

/// How well the answers were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ExtractionReport {
    /// Questions asked.
    pub questions: usize,
    /// The share of answers that are JSON objects.
    pub valid: f64,
    /// The share of answers with every field right and none too many.
    pub exact: f64,
    /// The share of the fields given that are right.
    pub precision: f64,
    /// The share of the fields asked for that are right.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// Asks every question with these settings of sampling; temperature 0 unless the model says otherwise is the caller's.
pub fn ask(pipeline: &Pipeline, questions: &[Question], max_tokens: usize) -> Result<ExtractionReport> {
    let mut pairs = Vec::with_capacity(questions.len());
    for (seed, question) in questions.iter().enumerate() {
        let output = pipeline
            .generate(Prompt::text(&question.prompt))
            .max_tokens(max_tokens)
            .temperature(0.0)
            .seed(seed as u64)
            .run()?;
        pairs.push((output.text, question.answer.clone()));
    }
    Ok(compare(&pairs))
}

/// Compares (answer, right answer) pairs.
pub fn compare(pairs: &[(String, String)]) -> ExtractionReport {
    let (mut valid, mut exact, mut given, mut asked, mut right) = (0usize, 0usize, 0usize, 0usize, 0usize);
    for (answer, expected) in pairs {
        let expected = object(expected).unwrap_or_default();
        asked += expected.len();
        let Some(answer) = object(answer) else { continue };
        valid += 1;
        given += answer.len();
        right += answer.iter().filter(|(key, value)| expected.get(*key) == Some(*value)).count();
        exact += usize::from(answer == expected);
    }
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let (precision, recall) = (share(right, given), share(right, asked));
    let f1 = if right == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    ExtractionReport {
        questions: pairs.len(),
        valid: share(valid, pairs.len()),
        exact: share(exact, pairs.len()),
        precision,
        recall,
        f1,
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted() {
        let pair = |answer: &str, right: &str| (answer.to_string(), right.to_string());
        let report = compare(&[
            pair(r#"{"a":"1","b":"2"}"#, r#"{"a":"1","b":"2"}"#),
            pair(r#" {"a":"1","c":"2"}"#, r#"{"a":"1","b":"2"}"#),
            pair("{", r#"{"a":"1","b":"2"}"#),
        ]);
        assert_eq!((report.questions, report.valid, report.exact), (3, 2.0 / 3.0, 1.0 / 3.0));
        assert_eq!((report.precision, report.recall), (0.75, 0.5));
        assert!((report.f1 - 0.6).abs() < 1e-12);
        assert_eq!(compare(&[]).f1, 0.0);
    }
}
