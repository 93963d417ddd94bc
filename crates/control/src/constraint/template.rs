//! Text with gaps: `Dear ____, yours ____{2,20}.`

use super::keywords::Case;
use super::language::Language;
use super::literal::literal;
use crate::automaton::{ByteDfa, regex};
use crate::budget::Meter;
use crate::error::{Error, Result};

/// Three or more underscores are a gap, which takes at least one character of any kind; `____{N}`, `____{N,}` and `____{N,M}` say how
/// many characters. All else is kept as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub String);

/// Underscores that make a gap.
const GAP: usize = 3;

impl Language for Template {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        regex(&self.expression()?, meter)
    }
}

impl Template {
    fn expression(&self) -> Result<String> {
        let mut out = String::new();
        let mut rest = self.0.as_str();
        while let Some(start) = rest.find(&"_".repeat(GAP)) {
            let (before, gap) = rest.split_at(start);
            if !before.is_empty() {
                out.push_str(&literal(before, Case::Exact));
            }
            rest = gap.trim_start_matches('_');
            let bounds = match rest.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
                Some((bounds, tail)) if bounds.starts_with(|first: char| first.is_ascii_digit()) => {
                    rest = tail;
                    self.bounds(bounds)?
                }
                _ => "+".to_string(),
            };
            out.push_str(&format!("(?s:.){bounds}"));
        }
        if !rest.is_empty() {
            out.push_str(&literal(rest, Case::Exact));
        }
        Ok(out)
    }

    /// The repetition of a gap.
    fn bounds(&self, text: &str) -> Result<String> {
        let wrong = || Error::Template {
            template: self.0.clone(),
            message: format!("`{{{text}}}` behind a gap is neither {{N}}, {{N,}} nor {{N,M}}"),
        };
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
        Ok(match text.split_once(',') {
            None => format!("{{{}}}", number(text)?),
            Some((from, "")) => format!("{{{},}}", number(from)?),
            Some((from, to)) => {
                let (from, to) = (number(from)?, number(to)?);
                if from > to {
                    return Err(wrong());
                }
                format!("{{{from},{to}}}")
            }
        })
    }
}
