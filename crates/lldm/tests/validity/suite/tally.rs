//! What was written, refused and found wrong, by kind of case and denoiser; as a table in Markdown.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::case::{Case, Kind};

/// Which case it was: what reproduces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The seed.
    pub(crate) seed: u64,
    /// The number of the case.
    pub(crate) index: usize,
}

/// The account of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    rows: BTreeMap<(Kind, &'static str), Row>,
    /// What was wrong, with what reproduces it.
    pub(crate) faults: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    cases: usize,
    texts: usize,
    refused: BTreeMap<String, usize>,
    invalid: usize,
    seconds: f64,
}

impl Tally {
    /// Works on one case; a panic is a fault.
    pub(crate) fn case(&mut self, case: &Case, denoiser: &'static str, turn: Turn, work: impl FnOnce(&mut Account)) {
        let start = Instant::now();
        let mut account = Account::default();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&mut account))) {
            account.fault(format!("panic: {}", said(panic.as_ref())));
        }
        let row = self.rows.entry((case.kind, denoiser)).or_default();
        row.cases += 1;
        row.texts += account.texts;
        row.invalid += account.faults.len();
        row.seconds += start.elapsed().as_secs_f64();
        for reason in account.refused {
            *row.refused.entry(reason).or_default() += 1;
        }
        for fault in account.faults {
            let Turn { seed, index } = turn;
            let what = case.what();
            self.faults.push(format!("{} {index} of seed {seed}, {denoiser}: {fault}; {what}", case.kind.name()));
        }
    }

    /// Takes over another account.
    pub(crate) fn add(&mut self, other: Self) {
        for (key, other) in other.rows {
            let row = self.rows.entry(key).or_default();
            row.cases += other.cases;
            row.texts += other.texts;
            row.invalid += other.invalid;
            row.seconds += other.seconds;
            for (reason, count) in other.refused {
                *row.refused.entry(reason).or_default() += count;
            }
        }
        self.faults.extend(other.faults);
    }

    /// Texts written.
    pub(crate) fn texts(&self) -> usize {
        self.rows.values().map(|row| row.texts).sum()
    }

    /// How often a reason that begins so was given, for cases of this kind.
    pub(crate) fn refused(&self, kind: Kind, reason: &str) -> usize {
        let rows = self.rows.iter().filter(|((own, _), _)| *own == kind);
        rows.flat_map(|(_, row)| &row.refused).filter(|(own, _)| own.starts_with(reason)).map(|(_, count)| count).sum()
    }

    /// Kind and denoiser: cases, texts, refused, invalid, seconds.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from("| kind | denoiser | cases | texts | refused, rightly | invalid | seconds |\n");
        out.push_str("|---|---|---:|---:|---|---:|---:|\n");
        for ((kind, denoiser), row) in &self.rows {
            let Row { cases, texts, refused, invalid, seconds } = row;
            let refused: Vec<_> = refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            let refused = if refused.is_empty() { "none".to_string() } else { refused.join(", ") };
            let kind = kind.name();
            let line =
                writeln!(out, "| {kind} | {denoiser} | {cases} | {texts} | {refused} | {invalid} | {seconds:.1} |");
            line.expect("a string takes all that is written");
        }
        out
    }
}

/// What came of one case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    texts: usize,
    refused: Vec<String>,
    faults: Vec<String>,
}

impl Account {
    /// A text was written and is valid.
    pub(crate) fn text(&mut self) {
        self.texts += 1;
    }

    /// A refusal that is right.
    pub(crate) fn refused(&mut self, reason: impl Into<String>) {
        self.refused.push(reason.into());
    }

    /// Something is wrong.
    pub(crate) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}
