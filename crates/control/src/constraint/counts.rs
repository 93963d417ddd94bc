//! How many words or sentences a text has.

use super::language::Language;
use crate::automaton::{ByteDfa, Machine};
use crate::budget::Meter;
use crate::error::{Error, Result};

/// From so many to so many words; words are what white space separates (ASCII's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// At least.
    pub from: u32,
    /// At most; no bound where it is `None`.
    pub to: Option<u32>,
}

/// From so many to so many sentences: words of which the last ends with `.`, `!` or `?`, behind which closing quotation marks and
/// brackets may stand. What has no such end is no sentence, and the text ends with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sentences {
    /// At least.
    pub from: u32,
    /// At most; no bound where it is `None`.
    pub to: Option<u32>,
}

/// Counts up to the bound that matters.
#[derive(Clone, Copy)]
struct Range {
    from: u32,
    to: Option<u32>,
}

impl Range {
    /// Fails where nothing lies between the bounds.
    fn check(self, what: &str) -> Result<()> {
        match self.to {
            Some(to) if to < self.from => {
                Err(Error::Empty { message: format!("at least {} and at most {to} {what} cannot be", self.from) })
            }
            _ => Ok(()),
        }
    }

    /// One more; `None` beyond the upper bound. Beyond the lower one, where there is no upper one, all are alike.
    fn next(self, count: u32) -> Option<u32> {
        match self.to {
            Some(to) => (count < to).then_some(count + 1),
            None => Some((count + 1).min(self.from)),
        }
    }
}

struct WordMachine(Range);

struct SentenceMachine(Range);

/// Where a text stands between words and sentences.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// Before a sentence.
    Between,
    /// In a sentence, behind no mark.
    Inside,
    /// Behind the mark that may end it.
    Marked,
}

impl Language for Words {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        let range = Range { from: self.from, to: self.to };
        range.check("words")?;
        ByteDfa::explore(&WordMachine(range), meter)
    }
}

impl Language for Sentences {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        let range = Range { from: self.from, to: self.to };
        range.check("sentences")?;
        ByteDfa::explore(&SentenceMachine(range), meter)
    }
}

impl Machine for WordMachine {
    /// Words begun, and whether the last goes on.
    type State = (u32, bool);

    fn start(&self) -> (u32, bool) {
        (0, false)
    }

    fn next(&self, (count, inside): &(u32, bool), byte: u8) -> Option<(u32, bool)> {
        match (byte.is_ascii_whitespace(), inside) {
            (true, _) => Some((*count, false)),
            (false, true) => Some((*count, true)),
            (false, false) => self.0.next(*count).map(|count| (count, true)),
        }
    }

    fn accepts(&self, (count, _): &(u32, bool)) -> bool {
        *count >= self.0.from
    }
}

impl Machine for SentenceMachine {
    /// Sentences ended, and the place.
    type State = (u32, Place);

    fn start(&self) -> (u32, Place) {
        (0, Place::Between)
    }

    fn next(&self, (count, place): &(u32, Place), byte: u8) -> Option<(u32, Place)> {
        let space = byte.is_ascii_whitespace();
        let mark = matches!(byte, b'.' | b'!' | b'?');
        match place {
            Place::Between if space => Some((*count, Place::Between)),
            // White space makes the mark an end.
            Place::Marked if space => self.0.next(*count).map(|count| (count, Place::Between)),
            Place::Marked if mark || matches!(byte, b'"' | b'\'' | b')' | b']') => Some((*count, Place::Marked)),
            _ => Some((*count, if mark { Place::Marked } else { Place::Inside })),
        }
    }

    fn accepts(&self, (count, place): &(u32, Place)) -> bool {
        match place {
            Place::Between => *count >= self.0.from,
            Place::Inside => false,
            // The end of the text makes the mark an end, too.
            Place::Marked => self.0.next(*count).is_some_and(|count| count >= self.0.from),
        }
    }
}
