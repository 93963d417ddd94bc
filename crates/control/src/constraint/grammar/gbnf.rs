//! Grammars in GBNF, the form of llama.cpp (its `grammars/README.md`): `root ::= "a" [^\n]* item{2,3}`.
//!
//! The text is what `root` derives. Every name is a rule, every literal and class a terminal, and nothing is ignored. A rule ends
//! with its line; it goes on behind `|`, within a group, and in a line that begins with `|`. Tokens (`<[1000]>`, `<think>`) are
//! refused: here a grammar is about text.

use super::cursor::Cursor;
use super::syntax::{Definition, Item, Names};
use crate::error::Result;

/// What begins a comment.
const COMMENTS: [&str; 1] = ["#"];

/// The definitions, and the number of `root`.
pub(super) fn read(text: &str) -> Result<(Vec<Definition>, usize)> {
    let mut reader = Reader { cursor: Cursor::new(text), names: Names::default() };
    loop {
        reader.cursor.space(true, &COMMENTS);
        if reader.cursor.peek().is_none() {
            break;
        }
        reader.rule()?;
    }
    let Reader { cursor, names } = reader;
    let root = names.find("root").ok_or_else(|| cursor.wrong("there is no rule `root`: name the first rule so"))?;
    Ok((names.finish()?, root))
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    names: Names,
}

impl Reader<'_> {
    fn rule(&mut self) -> Result<()> {
        let line = self.cursor.line;
        let name = self.cursor.take(in_name).to_string();
        if name.is_empty() {
            return Err(self.cursor.wrong(format!("{} stands where the name of a rule belongs", self.cursor.seen(""))));
        }
        self.cursor.space(false, &COMMENTS);
        self.cursor.expect("::=", &format!("behind `{name}`"))?;
        self.cursor.space(true, &COMMENTS);
        self.names.begin();
        let body = self.alternatives(false)?;
        if !matches!(self.cursor.peek(), None | Some('\n')) {
            return Err(self.cursor.wrong(format!("{} stands where a rule ends", self.cursor.seen(""))));
        }
        self.names.define(&name, false, line, body)
    }

    fn alternatives(&mut self, grouped: bool) -> Result<Item> {
        let mut items = vec![self.sequence(grouped)?];
        loop {
            let mut ahead = self.cursor.clone();
            ahead.space(true, &COMMENTS);
            if !ahead.eat("|") {
                return Ok(Item::choice(items));
            }
            ahead.space(true, &COMMENTS);
            self.cursor = ahead;
            items.push(self.sequence(grouped)?);
        }
    }

    fn sequence(&mut self, grouped: bool) -> Result<Item> {
        let mut items = Vec::new();
        loop {
            self.cursor.space(grouped, &COMMENTS);
            if matches!(self.cursor.peek(), None | Some('\n' | '|' | ')')) {
                return Ok(Item::sequence(items));
            }
            let item = self.atom(grouped)?;
            items.push(self.repeated(item)?);
        }
    }

    /// A part, as often as is said behind it.
    fn repeated(&mut self, item: Item) -> Result<Item> {
        let Some((from, to)) = self.times()? else { return Ok(item) };
        let line = self.cursor.line;
        // What lies within itself without a group has no bound.
        if self.times()?.is_some() {
            return Err(super::syntax::wrong(line, "a part is repeated twice: put it into a group of its own"));
        }
        Ok(item.repeated(from, to))
    }

    fn times(&mut self) -> Result<Option<(u32, Option<u32>)>> {
        self.cursor.space(false, &COMMENTS);
        let times = match self.cursor.peek() {
            Some('?') => (0, Some(1)),
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('{') => {
                self.cursor.bump();
                return self.cursor.bounds().map(Some);
            }
            _ => return Ok(None),
        };
        self.cursor.bump();
        Ok(Some(times))
    }

    fn atom(&mut self, grouped: bool) -> Result<Item> {
        let line = self.cursor.line;
        match self.cursor.peek() {
            Some('(') => {
                self.cursor.bump();
                self.cursor.open()?;
                let item = self.alternatives(true)?;
                self.cursor.close();
                self.cursor.expect(")", &format!("at the end of the group of line {line}"))?;
                Ok(item)
            }
            Some('"') => self.literal(),
            Some('[') => self.class(),
            Some('.') => {
                self.cursor.bump();
                Ok(Item::Class { ranges: Vec::new(), negated: true })
            }
            Some('<' | '!') => Err(self
                .cursor
                .wrong(format!("{} begins a token, which is not supported: write its text", self.cursor.seen("")))),
            Some(letter) if in_name(letter) => {
                let name = self.cursor.take(in_name);
                if !grouped {
                    let mut ahead = self.cursor.clone();
                    ahead.space(false, &COMMENTS);
                    if ahead.sees("::=") {
                        return Err(self
                            .cursor
                            .wrong(format!("the rule `{name}` begins within a line: begin a new one")));
                    }
                }
                Ok(self.names.refer(name, false, line))
            }
            _ => Err(self.cursor.wrong(format!("{} stands where a part belongs", self.cursor.seen("")))),
        }
    }

    fn literal(&mut self) -> Result<Item> {
        self.cursor.bump();
        let mut text = String::new();
        loop {
            match self.cursor.bump() {
                Some('"') => return Ok(Item::Literal { text, any_case: false }),
                Some('\\') => text.push(self.cursor.escape(ESCAPED)?),
                Some('\n') | None => {
                    return Err(self.cursor.wrong("a text does not end in its line: close it with `\"`"));
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    /// `[a-z_]`, `[^"\\]`.
    fn class(&mut self) -> Result<Item> {
        self.cursor.bump();
        let negated = self.cursor.eat("^");
        let mut ranges = Vec::new();
        while !self.cursor.eat("]") {
            let first = self.member()?;
            let mut last = first;
            if self.cursor.sees("-") && !self.cursor.sees("-]") {
                self.cursor.bump();
                last = self.member()?;
            }
            if last < first {
                return Err(self.cursor.wrong(format!("the range from `{first}` to `{last}` is empty: turn it round")));
            }
            ranges.push((first, last));
        }
        Ok(Item::Class { ranges, negated })
    }

    fn member(&mut self) -> Result<char> {
        match self.cursor.bump() {
            Some('\\') => self.cursor.escape(ESCAPED),
            Some('\n') | None => Err(self.cursor.wrong("a class does not end in its line: close it with `]`")),
            Some(letter) => Ok(letter),
        }
    }
}

/// What a backslash leaves as it is.
const ESCAPED: &str = "\\\"[]^-/";

fn in_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'
}
