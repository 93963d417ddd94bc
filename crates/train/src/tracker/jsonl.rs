//! `metrics.jsonl`: one line of JSON for each report.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::contract::{Metrics, Tracker};
use crate::error::{Error, Result};

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
