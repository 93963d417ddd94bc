//! Grammars as both readers leave them: definitions of rules and terminals, and what they are made of.
//!
//! A terminal is a regular part: it is matched as it stands, and what a grammar ignores may stand behind it. A rule may refer to any
//! definition, a terminal to terminals alone, and never back to itself.

use std::collections::HashMap;

use lldm_diffusion::registry::nearest;

use crate::error::{Error, Result};

/// What a definition is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// This text.
    Literal { text: String, any_case: bool },
    /// One character of these ranges, or of none of them.
    Class { ranges: Vec<(char, char)>, negated: bool },
    /// What an expression of the crate `regex` matches.
    Pattern(String),
    /// Another definition.
    Name(Reference),
    /// One after the other.
    Sequence(Vec<Item>),
    /// One of these.
    Choice(Vec<Item>),
    /// From so many to so many times.
    Repeat { item: Box<Item>, from: u32, to: Option<u32> },
    /// What all of these match; in terminals.
    All(Vec<Item>),
    /// Valid UTF-8 that this does not match; in terminals.
    Not(Box<Item>),
}

/// The place where a definition is named.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) definition: usize,
    /// The how-manieth name it is within its own definition.
    pub(super) ordinal: usize,
    pub(super) line: usize,
}

/// A rule or a terminal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) terminal: bool,
    pub(super) line: usize,
    pub(super) body: Item,
}

/// Definitions as they are read; names may be used before they are defined.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<String, usize>,
    entries: Vec<Entry>,
    references: usize,
}

struct Entry {
    name: String,
    terminal: bool,
    first_use: usize,
    defined: Option<(usize, Item)>,
}

impl Item {
    /// This from so many to so many times.
    pub(super) fn repeated(self, from: u32, to: Option<u32>) -> Self {
        Self::Repeat { item: Box::new(self), from, to }
    }

    /// Several in a row; one alone is itself.
    pub(super) fn sequence(mut items: Vec<Self>) -> Self {
        if items.len() == 1 { items.remove(0) } else { Self::Sequence(items) }
    }

    /// One of several; one alone is itself.
    pub(super) fn choice(mut items: Vec<Self>) -> Self {
        if items.len() == 1 { items.remove(0) } else { Self::Choice(items) }
    }

    /// Calls `visit` on this item and on all within it.
    pub(super) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Sequence(items) | Self::Choice(items) | Self::All(items) => {
                items.iter().for_each(|item| item.walk(visit));
            }
            Self::Repeat { item, .. } | Self::Not(item) => item.walk(visit),
            Self::Literal { .. } | Self::Class { .. } | Self::Pattern(_) | Self::Name(_) => {}
        }
    }

    /// The definitions that are named within.
    pub(super) fn references(&self) -> Vec<Reference> {
        let mut all = Vec::new();
        self.walk(&mut |item| {
            if let Self::Name(reference) = item {
                all.push(*reference);
            }
        });
        all
    }
}

impl Names {
    /// Counts the references of a definition from here on.
    pub(super) fn begin(&mut self) {
        self.references = 0;
    }

    /// A reference to a name.
    pub(super) fn refer(&mut self, name: &str, terminal: bool, line: usize) -> Item {
        let definition = self.number(name, terminal, line);
        let ordinal = self.references;
        self.references += 1;
        Item::Name(Reference { definition, ordinal, line })
    }

    /// What a name means.
    pub(super) fn define(&mut self, name: &str, terminal: bool, line: usize, body: Item) -> Result<()> {
        let number = self.number(name, terminal, line);
        let defined = &mut self.entries[number].defined;
        if let Some((before, _)) = defined {
            return Err(wrong(line, format!("`{name}` is defined already in line {before}: keep one of the two")));
        }
        *defined = Some((line, body));
        Ok(())
    }

    /// The number of a name, if it was read.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.known.get(name).copied()
    }

    /// All definitions, once each name has one.
    pub(super) fn finish(self) -> Result<Vec<Definition>> {
        let unknown = self.entries.iter().filter(|entry| entry.defined.is_none()).min_by_key(|entry| entry.first_use);
        if let Some(Entry { name, first_use, .. }) = unknown {
            return Err(wrong(*first_use, format!("`{name}` is defined nowhere: {}", self.advice(name))));
        }
        let defined = self.entries.into_iter().filter_map(|entry| {
            let (line, body) = entry.defined?;
            Some(Definition { name: entry.name, terminal: entry.terminal, line, body })
        });
        let definitions: Vec<_> = defined.collect();
        terminals_first(&definitions)?;
        Ok(definitions)
    }

    fn number(&mut self, name: &str, terminal: bool, line: usize) -> usize {
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        self.entries.push(Entry { name: name.to_string(), terminal, first_use: line, defined: None });
        self.known.insert(name.to_string(), self.entries.len() - 1);
        self.entries.len() - 1
    }

    /// What may have been meant by a name.
    fn advice(&self, name: &str) -> String {
        let defined = self.entries.iter().filter(|entry| entry.defined.is_some());
        let defined: Vec<&str> = defined.map(|entry| entry.name.as_str()).collect();
        nearest(name, &defined).map_or("define it".to_string(), |near| format!("define it, or write `{near}`"))
    }
}

/// The terminals, each behind all that it is made of.
///
/// # Errors
/// Where a terminal holds a rule or itself, or a rule what is for terminals alone.
pub(super) fn terminals_first(definitions: &[Definition]) -> Result<Vec<usize>> {
    for definition in definitions.iter().filter(|definition| !definition.terminal) {
        let mut found = None;
        definition.body.walk(&mut |item| match item {
            Item::All(_) => found = Some("&"),
            Item::Not(_) => found = Some("~"),
            _ => {}
        });
        if let Some(sign) = found {
            let name = &definition.name;
            let message = format!("`{sign}` stands in the rule `{name}`: put it into a terminal of its own");
            return Err(wrong(definition.line, message));
        }
    }
    // Depth first, without recursion: how often each was seen, and the references that wait.
    let mut seen = vec![false; definitions.len()];
    let mut done = vec![false; definitions.len()];
    let mut order = Vec::new();
    for root in (0..definitions.len()).filter(|at| definitions[*at].terminal) {
        let mut open = vec![(root, definitions[root].body.references())];
        seen[root] = true;
        while let Some((at, waiting)) = open.last_mut() {
            let Some(reference) = waiting.pop() else {
                if !std::mem::replace(&mut done[*at], true) {
                    order.push(*at);
                }
                open.pop();
                continue;
            };
            let (next, name) = (&definitions[reference.definition], &definitions[*at].name);
            if !next.terminal {
                let message =
                    format!("the terminal `{name}` holds the rule `{}`: make one of them the other", next.name);
                return Err(wrong(reference.line, message));
            }
            if done[reference.definition] {
                continue;
            }
            if std::mem::replace(&mut seen[reference.definition], true) {
                let message = format!("the terminal `{}` holds itself: make it a rule", next.name);
                return Err(wrong(reference.line, message));
            }
            open.push((reference.definition, next.body.references()));
        }
    }
    Ok(order)
}

/// An error in a line of a grammar.
pub(super) fn wrong(line: usize, message: impl Into<String>) -> Error {
    Error::Grammar { line, message: message.into() }
}
