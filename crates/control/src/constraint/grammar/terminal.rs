//! Terminals as automata. Each named one is compiled once, each other one once for each way of writing it.

use std::collections::HashMap;
use std::sync::Arc;

use super::syntax::{Definition, Item, terminals_first};
use crate::automaton::{ByteDfa, Expression, regex};
use crate::budget::Meter;
use crate::constraint::keywords::Case;
use crate::constraint::literal::literal;
use crate::error::{Error, Result};

/// Any text in UTF-8.
const TEXT: &str = "(?s:.*)";

/// The terminals of a grammar. An automaton of no text at all is `None`.
pub(super) struct Terminals<'a> {
    meter: &'a Meter,
    named: HashMap<usize, Option<Arc<ByteDfa>>>,
    /// What may stand behind a terminal of a rule.
    ignored: Expression,
    /// Terminals as rules use them, by how they are written.
    used: HashMap<String, Option<Arc<ByteDfa>>>,
}

impl<'a> Terminals<'a> {
    pub(super) fn new(definitions: &[Definition], ignored: &[Item], meter: &'a Meter) -> Result<Self> {
        let mut all = Self { meter, named: HashMap::new(), ignored: Expression::nothing(), used: HashMap::new() };
        for number in terminals_first(definitions)? {
            let expression = all.expression(&definitions[number].body)?;
            let automaton = all.compiled(&expression)?;
            all.named.insert(number, automaton);
        }
        if !ignored.is_empty() {
            let ignored: Result<Vec<_>> = ignored.iter().map(|item| all.expression(item)).collect();
            all.ignored = Expression::Choice(ignored?).repeated(0, None);
        }
        Ok(all)
    }

    /// What is ignored, as it may stand at the start; `None` where nothing is.
    pub(super) fn start(&mut self) -> Result<Option<Arc<ByteDfa>>> {
        self.compiled(&self.ignored)
    }

    /// A terminal as a rule uses it, with what is ignored behind it.
    pub(super) fn used(&mut self, item: &Item) -> Result<Option<Arc<ByteDfa>>> {
        let key = match item {
            Item::Name(reference) => format!("{}", reference.definition),
            item => format!("{item:?}"),
        };
        if let Some(known) = self.used.get(&key) {
            return Ok(known.clone());
        }
        let whole = self.expression(item)?.then(self.ignored.clone());
        let automaton = self.compiled(&whole)?;
        self.used.insert(key, automaton.clone());
        Ok(automaton)
    }

    fn expression(&self, item: &Item) -> Result<Expression> {
        let all = |items: &[Item]| items.iter().map(|item| self.expression(item)).collect::<Result<Vec<_>>>();
        Ok(match item {
            Item::Literal { text, any_case: false } => Expression::text(text),
            // Within ASCII alone: the long s and the sign of the kelvin are other letters to whoever reads a keyword.
            Item::Literal { text, any_case: true } if text.is_ascii() => {
                self.pattern(&format!("(?i-u:{})", literal(text, Case::Exact)))?
            }
            Item::Literal { text, any_case: true } => self.pattern(&literal(text, Case::Any))?,
            Item::Class { ranges, negated: false } if ranges.is_empty() => Expression::never(),
            Item::Class { ranges, negated } => self.pattern(&class(ranges, *negated))?,
            Item::Pattern(pattern) => self.pattern(pattern)?,
            Item::Name(reference) => embedded(self.named.get(&reference.definition).cloned().flatten()),
            Item::Sequence(items) => Expression::Sequence(all(items)?),
            Item::Choice(items) => Expression::Choice(all(items)?),
            Item::Repeat { item, from, to } => self.expression(item)?.repeated(*from, *to),
            Item::All(items) => {
                let mut parts = Vec::new();
                for item in items {
                    match self.compiled(&self.expression(item)?)? {
                        Some(part) => parts.push((*part).clone()),
                        None => return Ok(Expression::never()),
                    }
                }
                embedded(some(ByteDfa::all(&parts, self.meter))?)
            }
            Item::Not(item) => {
                let text = regex(TEXT, self.meter)?;
                let Some(part) = self.compiled(&self.expression(item)?)? else { return self.pattern(TEXT) };
                let Some(others) = some(part.complement(self.meter))? else { return Ok(Expression::never()) };
                embedded(some(ByteDfa::all(&[text, (*others).clone()], self.meter))?)
            }
        })
    }

    fn pattern(&self, pattern: &str) -> Result<Expression> {
        Ok(embedded(some(regex(pattern, self.meter))?))
    }

    fn compiled(&self, expression: &Expression) -> Result<Option<Arc<ByteDfa>>> {
        if let Expression::Automaton(known) = expression {
            return Ok(Some(Arc::clone(known)));
        }
        some(expression.compile(self.meter))
    }
}

/// The automaton, unless it is of no text.
pub(super) fn some(found: Result<ByteDfa>) -> Result<Option<Arc<ByteDfa>>> {
    match found {
        Ok(automaton) => Ok(Some(Arc::new(automaton))),
        Err(Error::Empty { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn embedded(automaton: Option<Arc<ByteDfa>>) -> Expression {
    automaton.map_or_else(Expression::never, Expression::Automaton)
}

/// The expression of a class.
pub(super) fn class(ranges: &[(char, char)], negated: bool) -> String {
    if ranges.is_empty() {
        return "(?s:.)".to_string();
    }
    let code = |letter: char| format!("\\x{{{:X}}}", letter as u32);
    let ranges: Vec<_> = ranges.iter().map(|(first, last)| format!("{}-{}", code(*first), code(*last))).collect();
    format!("[{}{}]", if negated { "^" } else { "" }, ranges.concat())
}
