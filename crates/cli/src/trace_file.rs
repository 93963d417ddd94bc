//! A recorded run: JSON lines, first what was run, then each frame. A frame's line also holds the texts of the tokens that
//! no earlier line named, so that a trace can be replayed without its model.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use lldm::Output;
use lldm_diffusion::{Frame, Token};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the form.
const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// [`VERSION`].
    pub(crate) lldm_trace: u32,
    /// The model.
    pub(crate) model: String,
    /// The prompt.
    pub(crate) prompt: String,
    /// The seed.
    pub(crate) seed: u64,
    /// The sampler with its resolved settings.
    pub(crate) sampler: Value,
    /// The tokens that end a text.
    pub(crate) end: Vec<Token>,
}

/// Makes the lines of frames.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameLines {
    named: HashSet<Token>,
}

/// A trace that is being recorded.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

/// A trace that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    /// What was run.
    pub(crate) header: Header,
    /// The frames, in their order.
    pub(crate) frames: Vec<Frame>,
    /// The texts of the tokens in them.
    pub(crate) texts: BTreeMap<Token, String>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    frame: &'a Frame,
    texts: BTreeMap<Token, String>,
}

impl Header {
    /// The header of a finished run.
    pub(crate) fn new(output: &Output, prompt: &str, end: &[Token]) -> Result<Self> {
        Ok(Self {
            lldm_trace: VERSION,
            model: output.model.clone(),
            prompt: prompt.to_string(),
            seed: output.seed,
            sampler: serde_json::to_value(&output.sampler)?,
            end: end.to_vec(),
        })
    }
}

impl FrameLines {
    /// The frame as one line of JSON, without a line feed.
    pub(crate) fn line(&mut self, frame: &Frame, text_of: &dyn Fn(Token) -> String) -> Result<String> {
        let new = frame.cells.iter().map(|cell| cell.token).filter(|token| self.named.insert(*token));
        let texts = new.map(|token| (token, text_of(token))).collect();
        Ok(serde_json::to_string(&Line { frame, texts })?)
    }
}

impl Writer {
    /// Begins a trace under a temporary name, so that a folder that cannot be written to shows itself at once.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            bail!("cannot write {}: there is no folder {}", path.display(), folder.display());
        }
        let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Writes the trace and gives it its name.
    pub(crate) fn finish(mut self, header: &Header, frames: &[String]) -> Result<()> {
        let fail = |error| cannot_write(&self.path, &error);
        let mut text = serde_json::to_string(header)?;
        for line in frames {
            text.push('\n');
            text.push_str(line);
        }
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(fail)?;
        self.file.persist(&self.path).map_err(|error| fail(error.error))?;
        Ok(())
    }
}

impl Trace {
    /// Reads a trace.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| anyhow!("cannot read {place}: {error}; `lldm run --trace FILE` makes a trace"))?;
        Self::parse(&text, &place.to_string())
    }

    fn parse(text: &str, place: &str) -> Result<Self> {
        let mut lines = text.lines();
        let header: Header = serde_json::from_str(lines.next().unwrap_or_default())
            .map_err(|_| anyhow!("{place} is not a trace: `lldm run --trace FILE` makes one"))?;
        if header.lldm_trace != VERSION {
            bail!("{place} is a trace of form {}, but this program reads form {VERSION}", header.lldm_trace);
        }
        let (mut frames, mut texts) = (Vec::new(), BTreeMap::new());
        for (number, line) in lines.enumerate() {
            let (frame, new) = frame(line).map_err(|error| anyhow!("{place} line {}: {error}", number + 2))?;
            frames.push(frame);
            texts.extend(new);
        }
        if frames.is_empty() {
            bail!("{place} holds no frame: record the run again");
        }
        Ok(Self { header, frames, texts })
    }

    /// The text of a token.
    pub(crate) fn text_of(&self, token: Token) -> String {
        self.texts.get(&token).cloned().unwrap_or_default()
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("cannot write {}: {error}", path.display())
}

fn frame(line: &str) -> Result<(Frame, BTreeMap<Token, String>)> {
    let mut value: Value = serde_json::from_str(line)?;
    let texts = value.get_mut("texts").map(Value::take).context("a frame has `texts`, but here are none")?;
    Ok((serde_json::from_value(value)?, serde_json::from_value(texts)?))
}

#[cfg(test)]
mod tests {
    use lldm_diffusion::{Cell, FrameCell};

    use super::*;

    fn frame(step: usize, tokens: &[Token]) -> Frame {
        let cell = |token: &Token| FrameCell { state: Cell::Draft, token: *token, probability: 0.1 };
        let cells = tokens.iter().map(cell).collect();
        Frame { sequence: 0, canvas: 0, block: 0, step, time: 0.5, nfe: step, log_z: None, cells, done: false }
    }

    #[test]
    fn a_trace_comes_back_as_it_was() {
        let header = Header {
            lldm_trace: VERSION,
            model: "toy".to_string(),
            prompt: "a".to_string(),
            seed: u64::MAX,
            sampler: Value::Null,
            end: vec![0],
        };
        let frames = [frame(0, &[9, 9]), frame(1, &[9, 4])];
        let mut lines = FrameLines::default();
        let lines: Vec<_> =
            frames.iter().map(|frame| lines.line(frame, &|token| format!("<{token}>")).expect("a line")).collect();
        assert!(lines[0].ends_with(r#""texts":{"9":"<9>"}}"#) && lines[1].ends_with(r#""texts":{"4":"<4>"}}"#));
        assert!(lines[0].contains(r#""probability":0.1}"#), "{}", lines[0]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.jsonl");
        Writer::create(&path).and_then(|trace| trace.finish(&header, &lines)).expect("written");
        let trace = Trace::read(&path).expect("a trace");
        assert_eq!((&trace.header, trace.frames.as_slice()), (&header, frames.as_slice()));
        assert_eq!(trace.text_of(4), "<4>");
    }

    #[test]
    fn other_files_are_refused() {
        let message = |text: &str| Trace::parse(text, "x").expect_err("no trace").to_string();
        assert!(message("").contains("is not a trace"));
        assert!(message("{\"text\": 1}").contains("is not a trace"));
        let header = r#"{"lldm_trace":1,"model":"","prompt":"","seed":0,"sampler":null,"end":[]}"#;
        assert!(message(header).contains("no frame"));
        assert!(message(&format!("{header}\n{{}}")).starts_with("x line 2: "));
        assert!(message(&header.replace(":1,", ":2,")).contains("form 2"));
    }
}
