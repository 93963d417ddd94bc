//! Words that must stand in a text, anywhere, and words that must not; how a text begins and ends.

use super::language::Language;
use super::literal::literal;
use crate::automaton::{ByteDfa, regex};
use crate::budget::Meter;
use crate::error::{Error, Result};

/// Whether upper and lower case are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// They are.
    #[default]
    Exact,
    /// They are not, by Unicode's simple case folding.
    Any,
}

/// What counts as an occurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    /// A whole word: no letter, digit, underscore or byte beyond ASCII stands next to it. (So a word beside a letter with an accent is
    /// none, and neither is one beside a typographic quotation mark.)
    #[default]
    Word,
    /// Any place.
    Substring,
}

/// Which of the words must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// All, in any order; they may overlap.
    #[default]
    All,
    /// At least one.
    Any,
    /// All, one behind the other.
    InOrder,
}

/// Words that the text must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keywords {
    /// The words; each may be several words with spaces.
    pub words: Vec<String>,
    /// Which of them.
    pub order: Order,
    /// What counts.
    pub matches: Match,
    /// Upper and lower case.
    pub case: Case,
}

/// Words that the text must not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banned {
    /// The words.
    pub words: Vec<String>,
    /// What counts.
    pub matches: Match,
    /// Upper and lower case.
    pub case: Case,
}

/// How the text begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartsWith(pub String);

/// How the text ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndsWith(pub String);

/// Bytes that are no part of a word.
const GAP: &str = r"(?-u:[^A-Za-z0-9_\x80-\xff])";
/// Anything.
const ANY: &str = "(?s-u:.*)";

impl Keywords {
    /// All of these whole words, in any order, case told apart.
    pub fn all<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            order: Order::All,
            matches: Match::Word,
            case: Case::Exact,
        }
    }
}

impl Language for Keywords {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        check(&self.words)?;
        let parts: Vec<_> = self.words.iter().map(|word| within(word, self.matches, self.case)).collect();
        match self.order {
            Order::Any => {
                regex(&format!("{}{}{}", before(self.matches), alternatives(&parts), after(self.matches)), meter)
            }
            Order::InOrder => {
                let between = match self.matches {
                    Match::Word => format!("(?:{GAP}|{GAP}{ANY}{GAP})"),
                    Match::Substring => ANY.to_string(),
                };
                regex(&format!("{}{}{}", before(self.matches), parts.join(&between), after(self.matches)), meter)
            }
            Order::All => {
                let one =
                    |part: &String| regex(&format!("{}{part}{}", before(self.matches), after(self.matches)), meter);
                let mut all: Option<ByteDfa> = None;
                for part in &parts {
                    let next = one(part)?;
                    all = Some(match all {
                        Some(all) => ByteDfa::all(&[all, next], meter)?,
                        None => next,
                    });
                }
                all.ok_or_else(|| Error::Empty { message: "there are no words".to_string() })
            }
        }
    }
}

impl Language for Banned {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        check(&self.words)?;
        let parts: Vec<_> = self.words.iter().map(|word| within(word, self.matches, self.case)).collect();
        regex(&format!("{}{}{}", before(self.matches), alternatives(&parts), after(self.matches)), meter)?
            .complement(meter)
    }
}

impl Language for StartsWith {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        regex(&format!("{}{ANY}", literal(&self.0, Case::Exact)), meter)
    }
}

impl Language for EndsWith {
    fn automaton(&self, meter: &Meter) -> Result<ByteDfa> {
        regex(&format!("{ANY}{}", literal(&self.0, Case::Exact)), meter)
    }
}

/// Fails on words that are nothing.
fn check(words: &[String]) -> Result<()> {
    if words.is_empty() {
        return Err(Error::Empty { message: "there are no words".to_string() });
    }
    if words.iter().any(|word| word.trim().is_empty()) {
        return Err(Error::Empty { message: "one of the words is empty".to_string() });
    }
    Ok(())
}

fn within(word: &str, matches: Match, case: Case) -> String {
    match matches {
        Match::Word => literal(word.trim(), case),
        Match::Substring => literal(word, case),
    }
}

fn alternatives(parts: &[String]) -> String {
    format!("(?:{})", parts.join("|"))
}

/// What may stand before an occurrence.
fn before(matches: Match) -> String {
    match matches {
        Match::Word => format!("(?:{ANY}{GAP})?"),
        Match::Substring => ANY.to_string(),
    }
}

/// What may stand behind an occurrence.
fn after(matches: Match) -> String {
    match matches {
        Match::Word => format!("(?:{GAP}{ANY})?"),
        Match::Substring => ANY.to_string(),
    }
}
