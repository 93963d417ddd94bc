//! TensorBoard event files, read back by a reader of their own: the bytes are taken apart after the formats' documentation,
//! with no code of the writer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use lldm_train::data::Places;
use lldm_train::tracker::{Metrics, TensorBoard, Tracker};
use lldm_train::{Error, Recipe, Trainer};

const SMALL: &str = r#"
    name = "small"
    output = "unset"
    data = { corpora = ["grammar"], length = 16, load = { grammar_sentences = 130 } }
    tokenizer = { vocabulary = 400 }
    model = { hidden_size = 32, layers = 1, heads = 2, intermediate_size = 48 }
    objective = { name = "masked" }
    train = { steps = 40, batch = 8, evaluate_every = 20, checkpoint_every = 10, log_every = 5, evaluate_rows = 8 }
"#;

/// A file by `EventFileWriter` of Python's tensorboard 2.21.0, under a clock that stood at 1700000000.25, after
/// `add_event` of a `SessionLog` START at 1700000000.5 and step 11, and of a `Summary` of train/loss = 2.5 and
/// train/tokens = 0 at 1700000001.75 and step 300.
const THEIRS: &str = "4800000000000000fe92489d0900001040fc54d9411a0d627261696e2e4576656e743a32522e0a2c74656e736f72626f6172\
    642e73756d6d6172792e7772697465722e6576656e745f66696c655f77726974657275711fd60f000000000000006d532b090900002040fc54d94110\
    0b3a0208015e35491136000000000000004f578cef0900007040fc54d94110ac022a280a110a0a747261696e2f6c6f737315000020400a130a0c7472\
    61696e2f746f6b656e73150000000084faa21a";

#[derive(Debug, PartialEq)]
enum What {
    Version(String),
    Start,
    Scalars(BTreeMap<String, f32>),
}

#[derive(Debug, PartialEq)]
struct Event {
    wall_time_s: f64,
    step: u64,
    what: What,
}

/// A field's content as protobuf has it on the wire.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Field<'_> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => panic!("{self:?}"),
        }
    }
}

/// Bit by bit, with the reversed polynomial of Castagnoli.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn take<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = data.split_at(count);
    *data = rest;
    taken
}

fn little(data: &[u8]) -> u64 {
    data.iter().rev().fold(0, |number, byte| number * 256 + u64::from(*byte))
}

fn varint(data: &mut &[u8]) -> u64 {
    let (mut number, mut place) = (0, 1);
    loop {
        let byte = u64::from(take(data, 1)[0]);
        number += byte % 128 * place;
        if byte < 128 {
            return number;
        }
        place *= 128;
    }
}

fn fields(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let field = match key % 8 {
            0 => Field::Number(varint(&mut data)),
            1 => Field::Number(little(take(&mut data, 8))),
            2 => {
                let count = varint(&mut data) as usize;
                Field::Bytes(take(&mut data, count))
            }
            5 => Field::Number(little(take(&mut data, 4))),
            other => panic!("wire type {other}"),
        };
        found.push((key / 8, field));
    }
    found
}

fn scalars(summary: &[u8]) -> BTreeMap<String, f32> {
    let values = fields(summary).into_iter().map(|(number, value)| match (number, value) {
        (1, Field::Bytes(value)) => match &fields(value)[..] {
            [(1, Field::Bytes(tag)), (2, value)] => {
                (String::from_utf8(tag.to_vec()).unwrap(), f32::from_bits(value.number() as u32))
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    });
    values.collect()
}

fn event(payload: &[u8]) -> Event {
    let (mut wall_time_s, mut step, mut what) = (None, 0, None);
    for (number, field) in fields(payload) {
        match (number, field) {
            (1, time) => wall_time_s = Some(f64::from_bits(time.number())),
            (2, number) => step = number.number(),
            (3, Field::Bytes(version)) => what = Some(What::Version(String::from_utf8(version.to_vec()).unwrap())),
            (5, Field::Bytes(summary)) => what = Some(What::Scalars(scalars(summary))),
            (7, Field::Bytes([8, 1])) => what = Some(What::Start),
            // Who wrote the file.
            (10, _) => {}
            other => panic!("{other:?}"),
        }
    }
    Event { wall_time_s: wall_time_s.unwrap(), step, what: what.unwrap() }
}

fn events(mut data: &[u8]) -> Vec<Event> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let length = take(&mut data, 8);
        assert_eq!(little(take(&mut data, 4)), u64::from(masked_crc(length)), "the sum of the length");
        let payload = take(&mut data, little(length) as usize);
        assert_eq!(little(take(&mut data, 4)), u64::from(masked_crc(payload)), "the sum of the payload");
        found.push(event(payload));
    }
    found
}

/// The event files of a run, in the order in which they are read.
fn files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.to_str().unwrap().contains(".tfevents.")).collect();
    paths.sort();
    paths
}

/// Steps and values of a run, without the speed, which is of the clock.
fn shown(run: &Path) -> Vec<(u64, BTreeMap<String, f32>)> {
    let all = files(run).into_iter().flat_map(|path| events(&fs::read(path).unwrap()));
    let scalars = all.filter_map(|event| match event.what {
        What::Scalars(mut scalars) => {
            assert!(scalars.remove("train/tokens_per_second").is_some_and(|speed| speed > 0.0));
            Some((event.step, scalars))
        }
        _ => None,
    });
    scalars.collect()
}

/// The same from metrics.jsonl.
fn reported(run: &Path) -> Vec<(u64, BTreeMap<String, f32>)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let metrics: Metrics = serde_json::from_str(line).unwrap();
        let held_out = metrics.held_out_bits_per_byte.map(|bits| ("held_out/bits_per_byte", bits));
        let scalars = [
            ("train/loss", metrics.loss),
            ("train/grad_norm", metrics.grad_norm),
            ("train/learning_rate_factor", metrics.rate),
            ("train/tokens", metrics.tokens as f64),
        ];
        let scalars = scalars.into_iter().chain(held_out).map(|(tag, value)| (tag.to_string(), value as f32));
        (metrics.step as u64, scalars.collect())
    });
    lines.collect()
}

fn metrics(step: usize) -> Metrics {
    let loss = 8.0 / step as f64;
    let held_out_bits_per_byte = step.is_multiple_of(2).then_some(1.5);
    let (tokens, tokens_per_second) = (1 << 20, 1000.0);
    Metrics { step, steps: 1000, loss, held_out_bits_per_byte, grad_norm: 0.75, rate: 0.5, tokens, tokens_per_second }
}

/// Fails at one update, as if the power went.
struct Kill(usize);

impl Tracker for Kill {
    fn record(&mut self, metrics: &Metrics) -> lldm_train::Result<()> {
        if metrics.step == self.0 { Err(Error::recipe("test", "killed")) } else { Ok(()) }
    }
}

fn train(output: &Path, overrides: &[&str], resume: bool, kill: usize) -> bool {
    let mut overrides: Vec<_> = overrides.iter().map(ToString::to_string).collect();
    overrides.push(format!("output={}", output.display()));
    let recipe = Recipe::parse(SMALL, "small.toml", &overrides).unwrap();
    let places = Places { data: None, cache: "no/cache".into(), offline: true };
    Trainer::new(recipe, &places, resume).unwrap().run(&mut Kill(kill)).is_ok()
}

#[test]
fn the_reader_understands_a_file_by_tensorboard_itself() {
    let digits: Vec<char> = THEIRS.chars().collect();
    let bytes = digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap());
    let scalars = [("train/loss".to_string(), 2.5), ("train/tokens".to_string(), 0.0)];
    let expected = [
        Event { wall_time_s: 1_700_000_000.25, step: 0, what: What::Version("brain.Event:2".to_string()) },
        Event { wall_time_s: 1_700_000_000.5, step: 11, what: What::Start },
        Event { wall_time_s: 1_700_000_001.75, step: 300, what: What::Scalars(scalars.into()) },
    ];
    assert_eq!(events(&bytes.collect::<Vec<_>>()), expected);
}

#[test]
fn a_file_holds_what_was_reported() {
    let folder = tempfile::tempdir().unwrap();
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let before = now();
    let mut board = TensorBoard::open(folder.path(), 0).unwrap();
    for step in [1, 300, 70_000] {
        board.record(&metrics(step)).unwrap();
    }
    let [path] = &files(folder.path())[..] else { panic!("one file") };
    let found = events(&fs::read(path).unwrap());
    let times: Vec<_> =
        [before].into_iter().chain(found.iter().map(|event| event.wall_time_s)).chain([now()]).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!((found[0].step, &found[0].what), (0, &What::Version("brain.Event:2".to_string())));
    assert_eq!((found[1].step, &found[1].what), (1, &What::Start));
    for (event, step) in found[2..].iter().zip([1, 300, 70_000]) {
        let mut scalars = BTreeMap::from([
            ("train/loss".to_string(), 8.0 / step as f32),
            ("train/grad_norm".to_string(), 0.75),
            ("train/learning_rate_factor".to_string(), 0.5),
            ("train/tokens".to_string(), 1_048_576.0),
            ("train/tokens_per_second".to_string(), 1000.0),
        ]);
        if step > 1 {
            scalars.insert("held_out/bits_per_byte".to_string(), 1.5);
        }
        assert_eq!((event.step, &event.what), (step, &What::Scalars(scalars)));
    }
    assert_eq!(found.len(), 5);
}

#[test]
fn a_killed_and_resumed_run_shows_every_step_once() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(train(&whole, &[], false, 0));
    let expected = shown(&whole);
    assert_eq!(expected, reported(&whole));
    assert_eq!(expected.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [5, 10, 15, 20, 25, 30, 35, 40]);

    // Before the first checkpoint the run begins anew.
    assert!(!train(&killed, &[], false, 5));
    assert_eq!(shown(&killed), expected[..1]);
    assert!(!train(&killed, &[], false, 15));
    assert_eq!(shown(&killed), expected[..3]);
    // Half a record at the end, and the file of another program, which is none of ours.
    let last = files(&killed).pop().unwrap();
    fs::OpenOptions::new().append(true).open(last).unwrap().write_all(&[54, 0, 0, 0]).unwrap();
    let other = killed.join("other.tfevents.1.lldm.1");
    fs::write(&other, "other").unwrap();
    assert!(!train(&killed, &[], true, 35));
    assert!(!train(&killed, &[], true, 40), "killed before the last checkpoint");
    assert!(train(&killed, &[], true, 0));
    assert_eq!(fs::read(&other).unwrap(), b"other");
    fs::remove_file(other).unwrap();
    assert_eq!(shown(&killed), expected);
    // Each session tells an open TensorBoard where it begins.
    let all = files(&killed).into_iter().flat_map(|path| events(&fs::read(path).unwrap()));
    let starts: Vec<_> = all.filter(|event| event.what == What::Start).map(|event| event.step).collect();
    assert_eq!(starts, [1, 11, 31]);

    // A finished run that is taken up again shows the same, however often.
    for _ in 0..2 {
        assert!(train(&killed, &[], true, 0));
        assert_eq!(shown(&killed), expected);
        assert_eq!(files(&killed).len(), 4);
    }
}

#[test]
fn a_recipe_may_do_without() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    assert!(train(&run, &["train.tensorboard=false", "train.steps=10"], false, 0));
    assert_eq!(files(&run), <[PathBuf; 0]>::default());
    assert_eq!(reported(&run).len(), 2);
}
