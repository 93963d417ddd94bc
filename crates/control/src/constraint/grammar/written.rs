//! A grammar, whichever form it came in, as llguidance reads it: its dialect of Lark.
//!
//! What is ignored is written out behind each terminal: its own `%ignore` does not hold at the end of a text, where nothing else may
//! follow.

use super::context_free::Grammar;
use super::syntax::{Definition, Item};
use super::terminal::class;

/// What stands for the empty text.
const NOTHING: &str = "\"\"";

/// The name of what is ignored.
const IGNORED: &str = "IGNORED";

impl Grammar {
    /// The grammar in llguidance's form of Lark. Definitions bear numbers for names, and every text is written as an expression.
    pub fn to_lark(&self) -> String {
        // Any tokenisation is allowed.
        let mut out = "%llguidance { \"no_forcing\": true }\n".to_string();
        let (name, skips) = (|number: usize| name(&self.definitions, number), !self.ignored.is_empty());
        out.push_str(&format!(
            "start: {}{}\n",
            if skips { format!("{IGNORED}? ") } else { String::new() },
            name(self.start)
        ));
        for (number, definition) in self.definitions.iter().enumerate() {
            let body = written(&definition.body, &self.definitions, skips && !definition.terminal);
            out.push_str(&format!("{}: {body}\n", name(number)));
        }
        if skips {
            let ignored: Vec<_> = self.ignored.iter().map(|item| written(item, &self.definitions, false)).collect();
            out.push_str(&format!("{IGNORED}: ({})+\n", ignored.join(" | ")));
        }
        out
    }
}

fn name(definitions: &[Definition], number: usize) -> String {
    format!("{}{number}", if definitions[number].terminal { "T" } else { "r" })
}

/// An item; what is ignored may stand behind each terminal of it where `skips` says so.
fn written(item: &Item, definitions: &[Definition], skips: bool) -> String {
    let all = |items: &[Item], between: &str| -> String {
        let items: Vec<_> = items.iter().map(|item| written(item, definitions, skips)).collect();
        format!("({})", items.join(between))
    };
    let terminal = match item {
        Item::Literal { .. } | Item::Class { .. } | Item::Pattern(_) => true,
        Item::Name(reference) => definitions[reference.definition].terminal,
        _ => false,
    };
    if skips && terminal {
        return format!("({} {IGNORED}?)", written(item, definitions, false));
    }
    match item {
        Item::Literal { text, .. } if text.is_empty() => NOTHING.to_string(),
        Item::Literal { text, any_case } => expression(&literal(text, *any_case)),
        Item::Class { ranges, negated: false } if ranges.is_empty() => expression("[a&&b]"),
        Item::Class { ranges, negated } => expression(&class(ranges, *negated)),
        Item::Pattern(pattern) => expression(pattern),
        Item::Name(reference) => name(definitions, reference.definition),
        Item::Sequence(items) if items.is_empty() => NOTHING.to_string(),
        Item::Sequence(items) => all(items, " "),
        Item::Choice(items) => all(items, " | "),
        Item::Repeat { to: Some(0), .. } => NOTHING.to_string(),
        Item::Repeat { item, from, to } => {
            let item = written(item, definitions, skips);
            match (from, to) {
                (0, None) => format!("({item})*"),
                (1, None) => format!("({item})+"),
                (0, Some(1)) => format!("({item})?"),
                (from, None) => format!("({item}){{{from},}}"),
                (from, Some(to)) => format!("({item}){{{from},{to}}}"),
            }
        }
        Item::All(items) => all(items, " & "),
        // The negation there is over bytes.
        Item::Not(item) => format!("({} & ~({}))", expression("(?s:.*)"), written(item, definitions, false)),
    }
}

/// A pattern between slashes.
fn expression(pattern: &str) -> String {
    format!("/{}/", pattern.replace('/', "\\/"))
}

/// The pattern of a text.
fn literal(text: &str, any_case: bool) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            letter if letter.is_ascii_alphabetic() && any_case && text.is_ascii() => {
                out.push_str(&format!("[{}{}]", letter.to_ascii_lowercase(), letter.to_ascii_uppercase()));
            }
            letter if letter.is_ascii_alphanumeric() => out.push(letter),
            letter => out.push_str(&format!("\\x{{{:X}}}", letter as u32)),
        }
    }
    if any_case && !text.is_ascii() { format!("(?i:{out})") } else { out }
}
