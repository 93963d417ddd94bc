//! What an evaluation found, as it is written to report.json.

use serde::Serialize;

use crate::extraction::ExtractionReport;
use crate::samples::{Cost, TextReport};

/// Bits per byte of one domain's held-out text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainReport {
    /// The domain.
    pub domain: String,
    /// Bytes of scored text.
    pub bytes: usize,
    /// The model.
    pub model: BitsPerByte,
    /// Its autoregressive twin, if one was named.
    pub twin: Option<BitsPerByte>,
    /// The Kneser-Ney model.
    pub judge: f64,
}

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BitsPerByte {
    /// Bits per byte.
    pub value: f64,
    /// Its standard error over groups of rows, where there are several.
    pub standard_error: Option<f64>,
    /// Whether it is an upper bound.
    pub bound: bool,
}

/// A whole evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Its number of parameters.
    pub parameters: usize,
    /// Tokens that it was trained on, repetitions counted.
    pub trained_tokens: u64,
    /// By domain, and `all` of them together.
    pub domains: Vec<DomainReport>,
    /// The order of the Kneser-Ney model.
    pub judge_order: usize,
    /// Texts of the model.
    pub written: TextReport,
    /// What they cost.
    pub cost: Cost,
    /// Held-out human texts.
    pub human: TextReport,
    /// The human texts with their words shuffled.
    pub shuffled: TextReport,
    /// Text to JSON, if the data has it.
    pub extraction: Option<ExtractionReport>,
    /// The first texts, in the order of their seeds.
    pub samples: Vec<String>,
}
