//! JSON numbers between bounds, and multiples of a number: automata that compare digit by digit. Numbers are decimals without an
//! exponent, unless nothing is asked of them; exponents have two digits at most, so that the value is one that every reader can hold.

use crate::automaton::{ByteDfa, Machine, regex};
use crate::budget::Meter;
use crate::error::Result;

/// What is asked of a number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NumberSpec {
    pub(super) integer: bool,
    pub(super) least: Option<Bound>,
    pub(super) most: Option<Bound>,
    pub(super) multiple_of: Option<Decimal>,
}

/// A bound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) at: Decimal,
    /// Whether the bound itself is left out.
    pub(super) exclusive: bool,
}

/// A number as digits: without zeros in front of the whole part or behind the fraction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    whole: Vec<u8>,
    fraction: Vec<u8>,
}

/// The most a multiple is taken of: each of its remainders is a state.
const MOST_REMAINDERS: u64 = 10_000;

impl Decimal {
    /// From what serde_json writes.
    pub(super) fn new(number: &serde_json::Number) -> Option<Self> {
        // Without an exponent, whatever its size.
        let text = match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => whole.to_string(),
            (_, Some(whole), _) => whole.to_string(),
            (_, _, Some(float)) => float.to_string(),
            _ => return None,
        };
        let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |text| (true, text));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().map(|byte| byte - b'0').collect::<Vec<_>>();
        let whole = digits(whole.trim_start_matches('0'));
        let fraction = digits(fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: negative && !zero, whole, fraction })
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }
}

/// The numbers that are asked for; `exponents` allows them where nothing depends on the value.
pub(super) fn numbers(spec: &NumberSpec, exponents: bool, meter: &Meter) -> Result<ByteDfa> {
    let plain = spec.least.is_none() && spec.most.is_none() && spec.multiple_of.is_none();
    let syntax = match (spec.integer, plain && exponents) {
        (true, _) => r"-?(?:0|[1-9][0-9]*)(?:\.0+)?",
        (false, true) => r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?",
        (false, false) => r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?",
    };
    let mut parts = vec![regex(syntax, meter)?];
    if let Some(bound) = &spec.least {
        parts.push(ByteDfa::explore(&Signed::new(bound, false), meter)?);
    }
    if let Some(bound) = &spec.most {
        parts.push(ByteDfa::explore(&Signed::new(bound, true), meter)?);
    }
    if let Some(of) = &spec.multiple_of {
        parts.push(ByteDfa::explore(&Multiple::new(of), meter)?);
    }
    ByteDfa::all(&parts, meter)
}

/// Whether multiples of a number can be told.
pub(super) fn can_be_divisor(of: &Decimal) -> bool {
    !of.negative && !of.is_zero() && Multiple::new(of).of <= MOST_REMAINDERS && of.whole.len() + of.fraction.len() < 18
}

/// Numbers on one side of a bound.
struct Signed<'a> {
    bound: &'a Bound,
    /// Whether it is the upper one.
    upper: bool,
}

/// How the absolute value read so far stands to that of the bound.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Less,
    Same,
    More,
}

/// Where a number is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reading {
    Start,
    /// So many digits of the whole part, which compare so with as many of the bound's.
    Whole {
        negative: bool,
        digits: usize,
        side: Side,
    },
    Fraction {
        negative: bool,
        digits: usize,
        side: Side,
    },
}

impl<'a> Signed<'a> {
    fn new(bound: &'a Bound, upper: bool) -> Self {
        Self { bound, upper }
    }

    fn compare(side: Side, digit: u8, of: u8) -> Side {
        match side {
            Side::Same if digit < of => Side::Less,
            Side::Same if digit > of => Side::More,
            side => side,
        }
    }

    /// Whether a number of this sign and this absolute value lies on the right side.
    fn fits(&self, negative: bool, side: Side) -> bool {
        let bound = &self.bound.at;
        // 0 has no sign, but may be written with one; it is the same as any other number without digits.
        let order = match (negative, bound.negative) {
            (false, true) => Side::More,
            (true, false) if !(bound.is_zero() && side == Side::Same) => Side::Less,
            (true, false) => Side::Same,
            (false, false) => side,
            (true, true) => match side {
                Side::Less => Side::More,
                Side::Same => Side::Same,
                Side::More => Side::Less,
            },
        };
        match order {
            Side::Same => !self.bound.exclusive,
            Side::Less => self.upper,
            Side::More => !self.upper,
        }
    }
}

impl Machine for Signed<'_> {
    type State = Reading;

    fn start(&self) -> Reading {
        Reading::Start
    }

    fn next(&self, reading: &Reading, byte: u8) -> Option<Reading> {
        let Decimal { whole, fraction, .. } = &self.bound.at;
        match (*reading, byte) {
            (Reading::Start, b'-') => Some(Reading::Whole { negative: true, digits: 0, side: Side::Same }),
            (Reading::Start, b'0'..=b'9') => {
                self.next(&Reading::Whole { negative: false, digits: 0, side: Side::Same }, byte)
            }
            // A leading 0 is no digit: it is the number that has none.
            (Reading::Whole { digits: 0, .. }, b'0') => Some(*reading),
            (Reading::Whole { negative, digits, side }, b'0'..=b'9') => {
                let side = match whole.get(digits) {
                    Some(of) => Self::compare(side, byte - b'0', *of),
                    None => Side::More,
                };
                let digits = (digits + 1).min(whole.len() + 1);
                Some(Reading::Whole { negative, digits, side: if digits > whole.len() { Side::More } else { side } })
            }
            (Reading::Whole { negative, digits, side }, b'.') => {
                let side = if digits < whole.len() { Side::Less } else { side };
                Some(Reading::Fraction { negative, digits: 0, side })
            }
            (Reading::Fraction { negative, digits, side }, b'0'..=b'9') => {
                let of = fraction.get(digits).copied().unwrap_or(0);
                let digits = (digits + 1).min(fraction.len());
                Some(Reading::Fraction { negative, digits, side: Self::compare(side, byte - b'0', of) })
            }
            _ => None,
        }
    }

    fn accepts(&self, reading: &Reading) -> bool {
        let Decimal { whole, fraction, .. } = &self.bound.at;
        let rest = |side, digits: usize| match side {
            // The digits of the bound that are left are not all 0.
            Side::Same if digits < fraction.len() => Side::Less,
            side => side,
        };
        match *reading {
            Reading::Start => false,
            Reading::Whole { negative, digits, side } => {
                self.fits(negative, if digits < whole.len() { Side::Less } else { rest(side, 0) })
            }
            Reading::Fraction { negative, digits, side } => self.fits(negative, rest(side, digits)),
        }
    }
}

/// Multiples of a number: `of` in units of the last place of its fraction.
struct Multiple {
    of: u64,
    places: usize,
}

/// The remainder so far, and the places of the fraction; none in the whole part.
type Remainder = (u64, Option<usize>);

impl Multiple {
    fn new(of: &Decimal) -> Self {
        let digits = of.whole.iter().chain(&of.fraction);
        let value = digits.fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(*digit)));
        Self { of: value.max(1), places: of.fraction.len() }
    }
}

impl Machine for Multiple {
    type State = Remainder;

    fn start(&self) -> Remainder {
        (0, None)
    }

    fn next(&self, (remainder, places): &Remainder, byte: u8) -> Option<Remainder> {
        match (byte, places) {
            (b'-', None) => Some((*remainder, None)),
            (b'.', None) => Some((*remainder, Some(0))),
            (b'0'..=b'9', Some(places)) if *places == self.places => {
                (byte == b'0').then_some((*remainder, Some(*places)))
            }
            (b'0'..=b'9', _) => {
                let remainder = (remainder * 10 + u64::from(byte - b'0')) % self.of;
                Some((remainder, places.map(|places| places + 1)))
            }
            _ => None,
        }
    }

    fn accepts(&self, (remainder, places): &Remainder) -> bool {
        let missing = self.places - places.unwrap_or(0);
        (0..missing).fold(*remainder, |remainder, _| remainder * 10 % self.of) == 0
    }
}
