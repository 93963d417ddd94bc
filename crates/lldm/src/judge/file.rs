//! The judge's file.
//!
//! ```text
//! magic "lldm-kn\n" | version u32 | payload bytes u64 | FNV-1a 64 of the payload u64 | payload
//! payload: order, V, then per level from the empty context up
//!   discounts 3 x f64 | estimated u8 | contexts C | successors N
//!   oldest token u16 x C | number of successors x C | number of children x C (not on the last level)
//!   token u16 x N | count x N
//! ```
//!
//! Little-endian; whole numbers without a type are LEB128. Totals and back-off masses are summed again on load.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::discount::Discount;
use super::error::JudgeError;
use super::kneser_ney::{KneserNey, MAX_ORDER, MAX_VOCABULARY};
use super::level::Level;

const MAGIC: [u8; 8] = *b"lldm-kn\n";
const VERSION: u32 = 1;
const HEADER: usize = 28;

impl KneserNey {
    /// Writes the model to a file of about 5 bytes per distinct n-gram. The file appears whole or not at all: it is written
    /// under a temporary name beside its place and then renamed.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written to, or the disk is full.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), JudgeError> {
        let path = path.as_ref();
        let payload = encode(self);
        let mut header = MAGIC.to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((payload.len() as u64).to_le_bytes());
        header.extend(checksum(&payload).to_le_bytes());

        let failed = |source| JudgeError::Write { path: path.to_owned(), source };
        let temporary = temporary_name(path).map_err(failed)?;
        let written = write(&temporary, &header, &payload).and_then(|()| fs::rename(&temporary, path));
        written.map_err(|source| {
            // The first error is the one to report; what is left is at worst a stray temporary file.
            let _ = fs::remove_file(&temporary);
            failed(source)
        })
    }

    /// Reads a model that [`KneserNey::save`] wrote; it gives the same probabilities to the bit.
    ///
    /// # Errors
    /// The file cannot be read, is none of ours, is of another version, has not the length that its header says, or is
    /// damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, JudgeError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| JudgeError::Read { path: path.to_owned(), source })?;
        if !bytes.starts_with(&MAGIC) {
            return Err(JudgeError::Magic { path: path.to_owned() });
        }
        let length = |expected| JudgeError::Length { path: path.to_owned(), expected, found: bytes.len() as u64 };
        let Some((header, payload)) = bytes.split_at_checked(HEADER) else { return Err(length(HEADER as u64)) };
        let damaged = |detail| JudgeError::Damaged { path: path.to_owned(), detail };

        let mut header = Reader { rest: &header[MAGIC.len()..] };
        let version = header.array().map(u32::from_le_bytes).map_err(damaged)?;
        if version != VERSION {
            return Err(JudgeError::Version { path: path.to_owned(), found: version, expected: VERSION });
        }
        let expected = header.array().map(u64::from_le_bytes).map_err(damaged)?;
        if expected != payload.len() as u64 {
            return Err(length(expected.saturating_add(HEADER as u64)));
        }
        if header.array().map(u64::from_le_bytes).map_err(damaged)? != checksum(payload) {
            return Err(damaged("the checksum of its content is another"));
        }
        decode(Reader { rest: payload }).map_err(damaged)
    }
}

fn encode(model: &KneserNey) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, model.levels.len() as u32);
    put(&mut out, model.vocabulary as u32);
    for level in &model.levels {
        out.extend(level.discount.values.iter().flat_map(|value| value.to_le_bytes()));
        out.push(u8::from(level.discount.estimated));
        put(&mut out, level.oldest.len() as u32);
        put(&mut out, level.tokens.len() as u32);
        out.extend(level.oldest.iter().flat_map(|token| token.to_le_bytes()));
        for offsets in [&level.successors, &level.children] {
            offsets.windows(2).for_each(|pair| put(&mut out, pair[1] - pair[0]));
        }
        out.extend(level.tokens.iter().flat_map(|token| token.to_le_bytes()));
        level.counts.iter().for_each(|&count| put(&mut out, count));
    }
    out
}

/// What the checksum lets through is still checked where a look-up would otherwise reach outside its arrays.
fn decode(mut from: Reader<'_>) -> Result<KneserNey, &'static str> {
    let order = from.number()? as usize;
    let vocabulary = from.number()? as usize;
    if !(1..=MAX_ORDER).contains(&order) || !(1..=MAX_VOCABULARY).contains(&vocabulary) {
        return Err("its order or vocabulary is out of range");
    }
    let mut levels: Vec<Level> = Vec::with_capacity(order);
    for length in 0..order {
        let values = [from.float()?, from.float()?, from.float()?];
        if !values.iter().zip([1.0, 2.0, 3.0]).all(|(&value, most)| value > 0.0 && value <= most) {
            return Err("a discount is out of range");
        }
        let discount = Discount { values, estimated: from.array::<1>()? != [0] };
        let contexts = from.number()? as usize;
        let successors = from.number()? as usize;
        let expected = levels.last().map_or(1, |parent| parent.children.last().map_or(0, |&end| end as usize));
        if contexts != expected {
            return Err("a level has not the contexts that the level before it names");
        }
        let oldest = from.tokens(contexts, vocabulary + 1)?;
        let successor_offsets = from.offsets(contexts, Some(successors))?;
        let children = if length + 1 < order { from.offsets(contexts, None)? } else { Vec::new() };
        let tokens = from.tokens(successors, vocabulary)?;
        let counts = (0..successors).map(|_| from.number()).collect::<Result<Vec<_>, _>>()?;
        let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let barren = successor_offsets.windows(2).any(|pair| pair[0] == pair[1]);
        if counts.contains(&0) || sum > u64::from(u32::MAX) || barren {
            return Err("a count is out of range");
        }
        levels.push(Level::new(discount, oldest, children, successor_offsets, tokens, counts));
    }
    if from.rest.is_empty() { Ok(KneserNey { vocabulary, levels }) } else { Err("there is more than it should hold") }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, bytes: usize) -> Result<&[u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N)?.try_into().map_err(|_| "it ends too early")
    }

    fn float(&mut self) -> Result<f64, &'static str> {
        self.array().map(f64::from_le_bytes)
    }

    /// LEB128, at most 32 bits.
    fn number(&mut self) -> Result<u32, &'static str> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or("it ends too early")?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| "a number is out of range");
            }
        }
        Err("a number is out of range")
    }

    fn tokens(&mut self, number: usize, below: usize) -> Result<Vec<u16>, &'static str> {
        let pairs = self.take(number.checked_mul(2).ok_or("a number is out of range")?)?.chunks_exact(2);
        let tokens: Vec<u16> = pairs.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        if tokens.iter().all(|&token| usize::from(token) < below) { Ok(tokens) } else { Err("a token is out of range") }
    }

    /// Offsets of `ranges` ranges from their lengths, which sum to `total` where it is known.
    fn offsets(&mut self, ranges: usize, total: Option<usize>) -> Result<Vec<u32>, &'static str> {
        if ranges > self.rest.len() {
            return Err("it ends too early");
        }
        let mut end = 0u32;
        let mut offsets = Vec::with_capacity(ranges + 1);
        offsets.push(end);
        for _ in 0..ranges {
            end = end.checked_add(self.number()?).ok_or("a number is out of range")?;
            offsets.push(end);
        }
        if total.is_none_or(|total| total == end as usize) { Ok(offsets) } else { Err("its parts do not add up") }
    }
}

/// LEB128.
fn put(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// FNV-1a, 64 bits: finds a damaged disk or download, not a forger.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A name beside the file that no other writer, in this process or another, uses.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.{}.tmp", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

fn write(path: &Path, header: &[u8], payload: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(header)?;
    file.write_all(payload)?;
    file.sync_all()
}
