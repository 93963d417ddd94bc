//! Members of objects and items of arrays: parts that are written with a comma in front of each, of which the first is dropped.

use std::sync::Arc;

use crate::automaton::{ByteDfa, ByteSet, Expression, Machine};
use crate::budget::Meter;
use crate::error::{Error, Result};

/// White space between tokens, as much as the model likes (RFC 8259, section 2).
pub(super) fn space() -> Expression {
    Expression::Bytes(ByteSet::of(*b" \t\n\r")).repeated(0, None)
}

/// A comma, then a part, with white space around both.
pub(super) fn after_comma(part: Expression) -> Expression {
    Expression::Sequence(vec![Expression::text(","), space(), part, space()])
}

/// The parts between two brackets. Where they cannot be, the empty list may still be; where it cannot either, nothing is.
pub(super) fn bracketed([open, close]: [&str; 2], parts: &Expression, meter: &Meter) -> Result<Expression> {
    let list = match parts.compile(meter) {
        Ok(list) => Expression::Automaton(Arc::new(ByteDfa::explore(&WithoutComma(&list), meter)?)),
        Err(Error::Empty { .. }) => return Ok(Expression::never()),
        Err(error) => return Err(error),
    };
    Ok(Expression::Sequence(vec![Expression::text(open), space(), list, Expression::text(close)]))
}

/// The texts of an automaton without their first byte, a comma; and the empty one, if it is among them.
struct WithoutComma<'a>(&'a ByteDfa);

impl Machine for WithoutComma<'_> {
    /// The state behind the comma; `None` before any byte.
    type State = Option<u32>;

    fn start(&self) -> Option<u32> {
        None
    }

    fn next(&self, state: &Option<u32>, byte: u8) -> Option<Option<u32>> {
        let state = state.or_else(|| self.0.next(0, b','))?;
        self.0.next(state, byte).map(Some)
    }

    fn accepts(&self, state: &Option<u32>) -> bool {
        self.0.is_accepting(state.unwrap_or(0))
    }
}
