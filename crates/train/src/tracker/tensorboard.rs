//! TensorBoard event files: what a run reports as scalars, which `tensorboard --logdir RUN` shows.
//!
//! A file is a sequence of TFRecords (TensorFlow's `tsl/lib/io/record_writer.h`): the payload's length as u64, the masked
//! CRC-32C of these eight bytes as u32, the payload, the masked CRC-32C of the payload as u32, all little-endian. A
//! payload is one protobuf message `Event`. The fields used, by number:
//! - `event.proto`: `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
//!   SessionLog session_log = 7; }`, `SessionLog { SessionStatus status = 1; }` with `START = 1`;
//! - `summary.proto`: `Summary { repeated Value value = 1; }`, `Value { string tag = 1; float simple_value = 2; }`.
//!
//! Each session writes a file of its own and first cuts what earlier sessions wrote after its checkpoint, so that every
//! reader finds each step once. Its `START` event makes a TensorBoard that is already open forget those steps too.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::contract::{Metrics, Tracker};
use crate::error::{Error, Result};

/// The beginning of every event file's name; TensorBoard asks for `tfevents` in it.
const PREFIX: &str = "events.out.tfevents.";
/// Stands in the name where others have the host.
const WRITER: &str = ".lldm.";
const VERSION: &[u8] = b"brain.Event:2";
/// A `SessionLog` with the status START.
const START: &[u8] = &[1 << 3 | VARINT, 1];
const CRC_MASK: u32 = 0xa282_ead8;

// The fields of an `Event` that hold what happened.
const FILE_VERSION: u8 = 3;
const SUMMARY: u8 = 5;
const SESSION_LOG: u8 = 7;

// How protobuf stores a field, the low three bits of its key.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// Writes `events.out.tfevents.SECONDS.lldm.STEP`. Values are float32, as TensorBoard keeps them: counts above 2^24 are
/// rounded, in `metrics.jsonl` they are exact.
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Begins a file in the folder `run`; events after `step` (made by a run that was killed) are cut from older ones.
    pub fn open(run: &Path, step: usize) -> Result<Self> {
        for entry in fs::read_dir(run).map_err(|source| Error::file(run, source))? {
            let entry = entry.map_err(|source| Error::file(run, source))?;
            if entry.file_name().to_str().is_some_and(is_ours) {
                cut(&entry.path(), step).map_err(|source| Error::file(&entry.path(), source))?;
            }
        }
        // Files are read in the order of their names; the step keeps it within a second.
        let now = wall_time_s();
        let path = run.join(format!("{PREFIX}{:010}{WRITER}{step:07}", now as u64));
        let file = File::create(&path).map_err(|source| Error::file(&path, source))?;
        let mut board = Self { path, file };
        board.write(&event(now, 0, FILE_VERSION, VERSION))?;
        board.write(&event(now, step as u64 + 1, SESSION_LOG, START))?;
        Ok(board)
    }

    /// One record at one go, so that a killed run leaves whole ones.
    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&record(event)).map_err(|source| Error::file(&self.path, source))
    }
}

impl Tracker for TensorBoard {
    fn record(&mut self, metrics: &Metrics) -> Result<()> {
        let Metrics { step, steps: _, loss, held_out_bits_per_byte, grad_norm, rate, tokens, tokens_per_second } =
            metrics;
        let mut scalars = vec![
            ("train/loss", *loss),
            ("train/grad_norm", *grad_norm),
            ("train/learning_rate_factor", *rate),
            ("train/tokens", *tokens as f64),
            ("train/tokens_per_second", *tokens_per_second),
        ];
        scalars.extend(held_out_bits_per_byte.map(|bits| ("held_out/bits_per_byte", bits)));
        self.write(&event(wall_time_s(), *step as u64, SUMMARY, &summary(&scalars)))
    }
}

/// Whether a file's name is one that [`TensorBoard::open`] gives; others are left alone.
fn is_ours(name: &str) -> bool {
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(WRITER));
    parts.is_some_and(|(time, step)| time.parse::<u64>().is_ok() && step.parse::<u64>().is_ok())
}

/// Ends the file after its last record up to `step`. A file with nothing but its beginning goes.
fn cut(path: &Path, step: usize) -> std::io::Result<()> {
    let data = fs::read(path)?;
    let (mut rest, mut kept) = (&data[..], 0);
    while let Some((event, after)) = first_record(rest)
        && let Some(made) = step_of(event)
        && made <= step as u64
    {
        rest = after;
        if made > 0 {
            kept = data.len() - rest.len();
        }
    }
    match kept {
        0 => fs::remove_file(path),
        _ => OpenOptions::new().write(true).open(path)?.set_len(kept as u64),
    }
}

/// The payload of the first record and what follows it; none where it is not whole.
fn first_record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, data) = data.split_first_chunk::<8>()?;
    let (length_crc, data) = data.split_first_chunk::<4>()?;
    let (payload, data) = data.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (payload_crc, data) = data.split_first_chunk::<4>()?;
    let whole = *length_crc == masked_crc(length) && *payload_crc == masked_crc(payload);
    whole.then_some((payload, data))
}

/// The step of an event that [`event`] made.
fn step_of(event: &[u8]) -> Option<u64> {
    let (&key, value) = event.get(9..)?.split_first()?;
    if key != 2 << 3 | VARINT {
        return Some(0);
    }
    let end = value.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    Some(value[..=end].iter().rev().fold(0, |step, byte| step << 7 | u64::from(byte & 0x7f)))
}

/// A payload with its lengths and sums.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), payload, &masked_crc(payload)].concat()
}

fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(CRC_MASK).to_le_bytes()
}

/// An `Event`; as protobuf has it, a step of 0 is left out.
fn event(wall_time_s: f64, step: u64, field: u8, what: &[u8]) -> Vec<u8> {
    let mut out = vec![1 << 3 | FIXED64];
    out.extend(wall_time_s.to_le_bytes());
    if step > 0 {
        out.push(2 << 3 | VARINT);
        push_varint(&mut out, step);
    }
    push_delimited(&mut out, field, what);
    out
}

/// A `Summary` of values by tag.
fn summary(scalars: &[(&str, f64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, value) in scalars {
        let mut item = Vec::new();
        push_delimited(&mut item, 1, tag.as_bytes());
        item.push(2 << 3 | FIXED32);
        item.extend((*value as f32).to_le_bytes());
        push_delimited(&mut out, 1, &item);
    }
    out
}

fn push_delimited(out: &mut Vec<u8>, field: u8, data: &[u8]) {
    out.push(field << 3 | DELIMITED);
    push_varint(out, data.len() as u64);
    out.extend(data);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn wall_time_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two records made with `EventFileWriter.add_event` of Python's tensorboard 2.21.0: a `SessionLog` START at step 11
    /// and a `Summary` at step 300.
    const THEIRS: [&str; 2] = [
        "0f000000000000006d532b090900002040fc54d941100b3a0208015e354911",
        "36000000000000004f578cef0900007040fc54d94110ac022a280a110a0a747261696e2f6c6f737315000020400a130a0c\
         747261696e2f746f6b656e73150000000084faa21a",
    ];

    fn hex(data: &[u8]) -> String {
        data.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_are_those_of_tensorboard_to_the_byte() {
        let start = event(1_700_000_000.5, 11, SESSION_LOG, START);
        let scalars = event(1_700_000_001.75, 300, SUMMARY, &summary(&[("train/loss", 2.5), ("train/tokens", 0.0)]));
        assert_eq!([hex(&record(&start)), hex(&record(&scalars))], THEIRS);
    }

    #[test]
    fn steps_of_every_size_read_back_and_a_broken_record_does_not() {
        for step in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), i64::MAX as u64] {
            let whole = record(&event(0.5, step, SUMMARY, &[]));
            let (payload, rest) = first_record(&whole).expect("a record");
            assert_eq!((step_of(payload), rest), (Some(step), &[][..]));
            assert!((0..whole.len()).all(|end| first_record(&whole[..end]).is_none()));
            for index in 0..whole.len() {
                let mut broken = whole.clone();
                broken[index] ^= 1;
                assert_eq!(first_record(&broken), None, "byte {index}");
            }
        }
    }
}
