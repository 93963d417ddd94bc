//! A measurement as rows, as a table and as JSON.

use lldm_kernels::peak::Peak;
use serde::Serialize;

use super::layer::LayerReport;
use super::setting::Setting;
use crate::machine::Machine;
use crate::render::plain;

/// One shape under one kernel, as measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) kernel: String,
    /// The path that ran.
    pub(crate) path: String,
    pub(crate) dtype: String,
    /// Rows, inner, columns; of experts tokens, experts, choices, inner, columns; of attention batch, heads, heads of keys, width,
    /// queries, keys; of the vocabulary rows and tokens; of training batch, length, layers, width, vocabulary.
    pub(crate) shape: Vec<usize>,
    pub(crate) threads: usize,
    /// 1e9 operations a second; of the vocabulary, 1e9 logits.
    pub(crate) gflops: f64,
    /// The instruction that it is set against, and its peak.
    pub(crate) instruction: &'static str,
    pub(crate) peak_gflops: f64,
    pub(crate) peak_ratio: f64,
    /// candle's own operation; NaN where it has none.
    pub(crate) candle_gflops: f64,
    pub(crate) candle_ratio: f64,
}

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) date: String,
    pub(crate) machine: Machine,
    pub(crate) threads: usize,
    pub(crate) peaks: Vec<PeakRow>,
    pub(crate) reads: Vec<ReadRow>,
    pub(crate) rows: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layer: Option<LayerReport>,
}

/// What an instruction reaches in registers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PeakRow {
    instruction: &'static str,
    dtype: &'static str,
    gops: f64,
}

/// What reads of a buffer of so many bytes a thread reach.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ReadRow {
    pub(crate) bytes: usize,
    pub(crate) gigabytes_per_second: f64,
}

impl Row {
    /// A row of a kernel that took the first of `seconds` for `operations`, and candle the second.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        setting: &Setting,
        kernel: &str,
        path: impl ToString,
        dtype: &str,
        peak: Peak,
        shape: &[usize],
        operations: f64,
        seconds: &[f64],
    ) -> Self {
        let [seconds, candle] = [seconds[0], seconds[1]];
        let (gflops, candle_gflops) = (operations / seconds * 1e-9, operations / candle * 1e-9);
        Self {
            kernel: kernel.to_string(),
            path: path.to_string(),
            dtype: dtype.to_string(),
            shape: shape.to_vec(),
            threads: setting.threads,
            gflops,
            instruction: peak.instruction,
            peak_gflops: peak.gops,
            peak_ratio: gflops / peak.gops,
            candle_gflops,
            candle_ratio: gflops / candle_gflops,
        }
    }
}

impl From<&Peak> for PeakRow {
    fn from(peak: &Peak) -> Self {
        Self { instruction: peak.instruction, dtype: peak.dtype, gops: peak.gops }
    }
}

impl Report {
    /// The tables for a reader.
    pub(crate) fn text(&self) -> String {
        let peaks: Vec<_> = self
            .peaks
            .iter()
            .map(|peak| vec![peak.instruction.to_string(), peak.dtype.to_string(), format!("{:.0}", peak.gops)])
            .collect();
        let reads: Vec<_> = self
            .reads
            .iter()
            .map(|read| vec![format!("{} KiB", read.bytes >> 10), format!("{:.0}", read.gigabytes_per_second)])
            .collect();
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let shape: Vec<_> = row.shape.iter().map(ToString::to_string).collect();
                vec![
                    row.kernel.clone(),
                    row.path.clone(),
                    shape.join(" x "),
                    format!("{:.0}", row.gflops),
                    format!("{:.0}%", 100.0 * row.peak_ratio),
                    measured(row.candle_gflops, format!("{:.0}", row.candle_gflops)),
                    measured(row.candle_ratio, format!("{:.1}x", row.candle_ratio)),
                ]
            })
            .collect();
        let Machine { cpu, kernel, .. } = &self.machine;
        let mut parts = vec![plain::table(&["INSTRUCTION", "TYPE", "GOP/S"], &peaks)];
        if !reads.is_empty() {
            parts.push(plain::table(&["READ A THREAD", "GB/S"], &reads));
        }
        if !rows.is_empty() {
            parts.push(plain::table(&["KERNEL", "PATH", "SHAPE", "GFLOP/S", "OF PEAK", "CANDLE", "RATIO"], &rows));
        }
        parts.extend(self.layer.as_ref().map(LayerReport::text));
        parts.push(format!(
            "{}, {cpu}, {} threads, kernel {kernel}; weights packed before; medians, ours and candle's in turn",
            self.date, self.threads
        ));
        parts.join("\n\n")
    }
}

/// Nothing where there is no number.
fn measured(value: f64, text: String) -> String {
    if value.is_nan() { String::new() } else { text }
}
