//! What a training reports, and where it is written down.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The state of a training after an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Updates made.
    pub step: usize,
    /// Updates planned.
    pub steps: usize,
    /// The mean loss since the last report, in nats per scored token.
    pub loss: f64,
    /// Bits per byte of held-out text under the averaged parameters, where it was measured. An upper bound for the
    /// diffusion objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_bits_per_byte: Option<f64>,
    /// The mean norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate's factor.
    pub rate: f64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Tokens per second since the last report.
    pub tokens_per_second: f64,
}

/// Takes what a training reports.
pub trait Tracker {
    /// Called every `log_every` updates and after each look at held-out text.
    fn record(&mut self, metrics: &Metrics) -> Result<()>;

    /// Called when something is worth a line of its own.
    fn note(&mut self, _: &str) {}
}

/// Writes `metrics.jsonl`.
pub struct Jsonl {
    path: PathBuf,
    file: File,
}

impl Jsonl {
    /// Opens the file; lines of updates after `step` (made by a run that was killed) are dropped.
    pub fn open(path: &Path, step: usize) -> Result<Self> {
        let fail = |source| Error::file(path, source);
        let kept: String = match std::fs::read_to_string(path) {
            Ok(text) => text
                .lines()
                .filter(|line| serde_json::from_str::<Metrics>(line).is_ok_and(|metrics| metrics.step <= step))
                .map(|line| format!("{line}\n"))
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error)),
        };
        let temporary = path.with_extension("jsonl.tmp");
        std::fs::write(&temporary, kept).and_then(|()| std::fs::rename(&temporary, path)).map_err(fail)?;
        let file = OpenOptions::new().append(true).open(path).map_err(fail)?;
        Ok(Self { path: path.to_path_buf(), file })
    }
}

impl Tracker for Jsonl {
    fn record(&mut self, metrics: &Metrics) -> Result<()> {
        let line = serde_json::to_string(metrics).map_err(|error| Error::file(&self.path, error.into()))?;
        writeln!(self.file, "{line}").map_err(|source| Error::file(&self.path, source))
    }
}

impl Tracker for Vec<&mut dyn Tracker> {
    fn record(&mut self, metrics: &Metrics) -> Result<()> {
        self.iter_mut().try_for_each(|tracker| tracker.record(metrics))
    }

    fn note(&mut self, text: &str) {
        self.iter_mut().for_each(|tracker| tracker.note(text));
    }
}
