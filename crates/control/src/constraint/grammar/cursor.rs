//! A place in the text of a grammar, which knows its line; and what both forms of grammars spell alike.

use super::syntax::wrong;
use crate::error::{Error, Result};

/// Groups within one another, so that no text can use up the stack.
const MOST_GROUPS: usize = 200;

/// The rest of a text.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
    pub(super) line: usize,
    groups: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1, groups: 0 }
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Whether the rest begins so.
    pub(super) fn sees(&self, text: &str) -> bool {
        self.rest.starts_with(text)
    }

    /// The next character, which is passed.
    pub(super) fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    /// Passes a text without line breaks, if it stands here.
    pub(super) fn eat(&mut self, text: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.rest = rest;
        true
    }

    /// Passes characters of a kind.
    pub(super) fn take(&mut self, kind: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !kind(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// Passes white space and comments, which begin with one of these; line breaks only where they mean nothing.
    pub(super) fn space(&mut self, breaks: bool, comments: &[&str]) {
        loop {
            self.take(|letter| letter == ' ' || letter == '\t' || letter == '\r' || breaks && letter == '\n');
            if !comments.iter().any(|start| self.sees(start)) {
                return;
            }
            self.take(|letter| letter != '\n');
        }
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<u32> {
        let digits = self.take(|letter| letter.is_ascii_digit());
        digits.parse().map_err(|_| self.wrong(format!("{} stands where a count belongs", self.seen(digits))))
    }

    /// What is behind `{`: `n}`, `n,}`, `,m}` or `n,m}`.
    pub(super) fn bounds(&mut self) -> Result<(u32, Option<u32>)> {
        let blank = |letter: char| letter == ' ' || letter == '\t';
        self.take(blank);
        let from = if self.sees(",") { 0 } else { self.number()? };
        self.take(blank);
        let mut to = Some(from);
        if self.eat(",") {
            self.take(blank);
            to = if self.sees("}") { None } else { Some(self.number()?) };
            self.take(blank);
        }
        self.expect("}", "behind a count")?;
        self.ordered(from, to)
    }

    /// Fails on bounds the wrong way round.
    pub(super) fn ordered(&self, from: u32, to: Option<u32>) -> Result<(u32, Option<u32>)> {
        match to {
            Some(to) if to < from => Err(self.wrong(format!("at least {from} and at most {to} times cannot be"))),
            _ => Ok((from, to)),
        }
    }

    /// The character that is meant by what is behind a backslash: `n`, `t`, `r`, `xHH`, `uHHHH`, `UHHHHHHHH`, or one of `plain`.
    pub(super) fn escape(&mut self, plain: &str) -> Result<char> {
        let letter = self.bump();
        let digits = match letter {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(letter) if plain.contains(letter) => return Ok(letter),
            Some(letter) => return Err(self.wrong(format!("`\\{letter}` is no escape: write `\\\\` for a backslash"))),
            None => return Err(self.wrong("it ends behind a backslash")),
        };
        let mut value = 0u32;
        for _ in 0..digits {
            let digit = self.bump().and_then(|letter| letter.to_digit(16));
            let digit =
                digit.ok_or_else(|| self.wrong(format!("an escape has fewer than {digits} hexadecimal digits")))?;
            value = value << 4 | digit;
        }
        char::from_u32(value).ok_or_else(|| self.wrong(format!("{value:#x} is no character of Unicode")))
    }

    /// Passes what must stand here.
    pub(super) fn expect(&mut self, text: &str, place: &str) -> Result<()> {
        if self.eat(text) {
            return Ok(());
        }
        Err(self.wrong(format!("{} stands {place} where `{text}` belongs", self.seen(""))))
    }

    /// Enters a group.
    pub(super) fn open(&mut self) -> Result<()> {
        self.groups += 1;
        if self.groups > MOST_GROUPS {
            return Err(
                self.wrong(format!("more than {MOST_GROUPS} groups stand within one another: name some of them"))
            );
        }
        Ok(())
    }

    /// Leaves a group.
    pub(super) fn close(&mut self) {
        self.groups -= 1;
    }

    /// What stands here, for a message.
    pub(super) fn seen(&self, instead: &str) -> String {
        match (instead, self.peek()) {
            ("", None) => "the end".to_string(),
            ("", Some('\n')) => "the end of the line".to_string(),
            ("", Some(letter)) => format!("`{letter}`"),
            (text, _) => format!("`{text}`"),
        }
    }

    pub(super) fn wrong(&self, message: impl Into<String>) -> Error {
        wrong(self.line, message)
    }
}
