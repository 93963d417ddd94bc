//! Texts and expressions in grammars of Lark: `"a"`, `"a"i`, `"a".."z"`, `/a+/i`.

use regex_automata::util::syntax;

use super::cursor::Cursor;
use super::syntax::{Item, wrong};
use crate::automaton::one_line;
use crate::error::Result;

/// `"text"`, `"text"i`, or `"a".."z"`.
pub(super) fn literal(cursor: &mut Cursor) -> Result<Item> {
    let text = quoted(cursor)?;
    if cursor.eat("..") {
        let end = quoted(cursor)?;
        let (Some(first), Some(last)) = (single(&text), single(&end)) else {
            return Err(cursor.wrong("a range does not go from one character to one character"));
        };
        if first > last {
            return Err(cursor.wrong(format!("the range from `{first}` to `{last}` is empty: turn it round")));
        }
        return Ok(Item::Class { ranges: vec![(first, last)], negated: false });
    }
    let any_case = cursor.eat("i");
    Ok(Item::Literal { text, any_case })
}

/// `/expression/flags`.
pub(super) fn expression(cursor: &mut Cursor) -> Result<Item> {
    let line = cursor.line;
    cursor.bump();
    let mut pattern = String::new();
    loop {
        match cursor.bump() {
            Some('/') => break,
            Some('\\') => match cursor.bump() {
                Some('/') => pattern.push('/'),
                Some(letter) => pattern.extend(['\\', letter]),
                None => return Err(wrong(line, "an expression does not end: close it with `/`")),
            },
            Some(letter) => pattern.push(letter),
            None => return Err(wrong(line, "an expression does not end: close it with `/`")),
        }
    }
    let flags = cursor.take(|letter| letter.is_ascii_alphabetic());
    if let Some(flag) = flags.chars().find(|flag| !"imsxu".contains(*flag)) {
        return Err(cursor.wrong(format!("the flag `{flag}` of an expression is not supported: leave it out")));
    }
    // Expressions know Unicode without being told.
    let flags: String = flags.chars().filter(|flag| *flag != 'u').collect();
    if !flags.is_empty() {
        // The break ends a comment, where the flag `x` allows one.
        let end = if flags.contains('x') { "\n" } else { "" };
        pattern = format!("(?{flags}:{pattern}{end})");
    }
    let parsed = syntax::parse(&pattern);
    let parsed = parsed.map_err(|error| {
        wrong(line, format!("`{pattern}` is no regular expression that can be used: {}", one_line(&error)))
    })?;
    if !parsed.properties().look_set().is_empty() {
        let message =
            format!("`{pattern}` looks at what is beside it (`^`, `$`, `\\b`), which is not supported: leave it out");
        return Err(wrong(line, message));
    }
    Ok(Item::Pattern(pattern))
}

/// What stands between quotation marks.
fn quoted(cursor: &mut Cursor) -> Result<String> {
    cursor.expect("\"", "at a text")?;
    let mut text = String::new();
    loop {
        match cursor.bump() {
            Some('"') => return Ok(text),
            Some('\\') => text.push(match cursor.peek() {
                Some('f') => {
                    cursor.bump();
                    '\u{c}'
                }
                _ => cursor.escape("\\\"'/")?,
            }),
            Some('\n') | None => {
                return Err(cursor.wrong("a text does not end in its line: close it with `\"`"));
            }
            Some(letter) => text.push(letter),
        }
    }
}

/// The only character of a text.
fn single(text: &str) -> Option<char> {
    let mut letters = text.chars();
    letters.next().filter(|_| letters.next().is_none())
}
