//! JSON strings whose value belongs to a language, in one spelling of each letter or its short escape: raw UTF-8, `\"`, `\n` and their
//! like, and `\u00XX` for control characters. Longer escapes, which no serialiser needs, are left out.

use std::sync::Arc;

use crate::automaton::{ByteDfa, Expression, Machine, regex};
use crate::budget::Meter;
use crate::error::Result;

/// A string, quoted, with the decoded value in `values`.
pub(super) fn quoted(values: &ByteDfa, meter: &Meter) -> Result<Expression> {
    Ok(Expression::Automaton(Arc::new(ByteDfa::explore(&Quoted(values), meter)?)))
}

/// Values of so many letters.
pub(super) fn letters(from: u64, to: Option<u64>, meter: &Meter) -> Result<ByteDfa> {
    let to = to.map_or(String::new(), |to| to.to_string());
    // Letters are Unicode's code points, so the value is valid UTF-8.
    regex(&format!("(?s:.){{{from},{to}}}"), meter)
}

struct Quoted<'a>(&'a ByteDfa);

/// Where the spelling stands; the number is the state of the value so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Spelling {
    Open,
    Raw(u32),
    Escape(u32),
    /// Behind `\u` and so many digits 0.
    Zeros(u32, u8),
    /// Behind `\u00` and this digit.
    Last(u32, u8),
    Closed,
}

impl Quoted<'_> {
    fn write(&self, state: u32, byte: u8) -> Option<Spelling> {
        self.0.next(state, byte).map(Spelling::Raw)
    }
}

impl Machine for Quoted<'_> {
    type State = Spelling;

    fn start(&self) -> Spelling {
        Spelling::Open
    }

    fn next(&self, spelling: &Spelling, byte: u8) -> Option<Spelling> {
        match (*spelling, byte) {
            (Spelling::Open, b'"') => Some(Spelling::Raw(0)),
            (Spelling::Raw(state), b'"') => self.0.is_accepting(state).then_some(Spelling::Closed),
            (Spelling::Raw(state), b'\\') => Some(Spelling::Escape(state)),
            (Spelling::Raw(state), 0x20..) => self.write(state, byte),
            (Spelling::Escape(state), b'"' | b'\\' | b'/') => self.write(state, byte),
            (Spelling::Escape(state), b'b') => self.write(state, 0x08),
            (Spelling::Escape(state), b't') => self.write(state, b'\t'),
            (Spelling::Escape(state), b'n') => self.write(state, b'\n'),
            (Spelling::Escape(state), b'f') => self.write(state, 0x0c),
            (Spelling::Escape(state), b'r') => self.write(state, b'\r'),
            (Spelling::Escape(state), b'u') => Some(Spelling::Zeros(state, 0)),
            (Spelling::Zeros(state, zeros @ (0 | 1)), b'0') => Some(Spelling::Zeros(state, zeros + 1)),
            (Spelling::Zeros(state, 2), b'0' | b'1') => Some(Spelling::Last(state, byte - b'0')),
            (Spelling::Last(state, first), _) => {
                let last = char::from(byte).to_digit(16)?;
                self.write(state, 16 * first + last as u8)
            }
            _ => None,
        }
    }

    fn accepts(&self, spelling: &Spelling) -> bool {
        *spelling == Spelling::Closed
    }
}
