//! Grammars in the form of Lark (its grammar reference), with what llguidance adds to terminals: `A & B`, `~A`, `x{2,3}`.
//!
//! Names of rules are lower-case, those of terminals upper-case; the text is what the rule `start` derives. `%ignore` holds behind
//! each terminal of a rule, and at the start. Aliases, priorities and the marks `?` and `!` say how a tree is built or which of
//! several trees is meant, and are passed over. Differences to Lark:
//! - A terminal matches whatever its expression matches, as if the lexer were the parser: there is neither longest match nor
//!   priority. So `NAME` matches `if` too, unless the terminal leaves it out (`/[a-z]+/ & ~"if"`), and where nothing must stand
//!   between two terminals, `ifx` is `if` and `x`.
//! - Expressions are those of the crate `regex`, without `^`, `$` and `\b`, which look at what is beside a terminal.
//! - Templates, `%declare`, `%override`, `%extend`, imports other than from `common`, and llguidance's further directives and
//!   attributes of rules are refused.

use super::cursor::Cursor;
use super::lark_terminals::shared_terminal;
use super::lark_text::{expression, literal};
use super::syntax::{Definition, Item, Names, wrong};
use crate::error::Result;

/// What begins a comment.
const COMMENTS: [&str; 2] = ["//", "#"];

/// The definitions, the number of `start`, and what is ignored.
pub(super) fn read(text: &str) -> Result<(Vec<Definition>, usize, Vec<Item>)> {
    let mut reader = Reader { cursor: Cursor::new(text), names: Names::default(), ignored: Vec::new() };
    reader.all()?;
    let Reader { cursor, names, ignored } = reader;
    let start = names.find("start").ok_or_else(|| cursor.wrong("there is no rule `start`: name the first rule so"))?;
    let definitions = names.finish()?;
    let refused = |item: &Item| item.references().into_iter().find(|to| !definitions[to.definition].terminal);
    if let Some(rule) = ignored.iter().find_map(refused) {
        let name = &definitions[rule.definition].name;
        let message = format!("`%ignore` takes terminals, and `{name}` is a rule: make it a terminal");
        return Err(wrong(rule.line, message));
    }
    Ok((definitions, start, ignored))
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    names: Names,
    ignored: Vec<Item>,
}

impl Reader<'_> {
    fn all(&mut self) -> Result<()> {
        loop {
            self.cursor.space(true, &COMMENTS);
            match self.cursor.peek() {
                None => return Ok(()),
                Some('%') => self.directive()?,
                Some(_) => self.definition()?,
            }
            self.cursor.space(false, &COMMENTS);
            if !matches!(self.cursor.peek(), None | Some('\n')) {
                return Err(self
                    .cursor
                    .wrong(format!("{} stands behind the end of a definition", self.cursor.seen(""))));
            }
        }
    }

    fn directive(&mut self) -> Result<()> {
        self.cursor.eat("%");
        let name = self.cursor.take(|letter| letter.is_ascii_alphabetic());
        self.blank();
        match name {
            "ignore" => {
                self.names.begin();
                let item = self.alternatives(false)?;
                self.ignored.push(item);
                Ok(())
            }
            "import" => self.import(),
            _ => Err(self.cursor.wrong(format!("`%{name}` is not supported: write out what it stands for"))),
        }
    }

    /// `common.NAME`, `common.NAME -> OTHER` or `common (NAME, OTHER)`.
    fn import(&mut self) -> Result<()> {
        let module = self.cursor.take(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.');
        let (module, single) = match module.rsplit_once('.') {
            Some((module, name)) => (module, Some(name)),
            None => (module, None),
        };
        if module != "common" {
            let message = format!("`%import {module}` is not supported, only `common` is there: write it out");
            return Err(self.cursor.wrong(message));
        }
        if let Some(name) = single {
            self.blank();
            let mut other = name;
            if self.cursor.eat("->") {
                self.blank();
                other = self.cursor.take(in_name);
            }
            return self.imported(name, other);
        }
        self.blank();
        self.cursor.expect("(", "behind a module")?;
        loop {
            self.cursor.space(true, &COMMENTS);
            let name = self.cursor.take(in_name);
            self.imported(name, name)?;
            self.cursor.space(true, &COMMENTS);
            if !self.cursor.eat(",") {
                return self.cursor.expect(")", "behind a name");
            }
        }
    }

    fn imported(&mut self, name: &str, other: &str) -> Result<()> {
        let Some(pattern) = shared_terminal(name) else {
            return Err(self.cursor.wrong(format!("there is no `common.{name}` here: write the terminal out")));
        };
        if !is_terminal(other) {
            return Err(self.cursor.wrong(format!("`{other}` is no name of a terminal: write it in capitals")));
        }
        self.names.define(other, true, self.cursor.line, Item::Pattern(pattern.to_string()))
    }

    fn definition(&mut self) -> Result<()> {
        let line = self.cursor.line;
        self.cursor.take(|letter| letter == '?' || letter == '!');
        let name = self.name()?;
        if self.cursor.eat(".") {
            self.cursor.take(|letter| letter.is_ascii_digit() || letter == '-' || letter == '+');
        }
        self.blank();
        if self.cursor.sees("{") {
            return Err(self
                .cursor
                .wrong(format!("`{name}{{...}}` is a template, which is not supported: write it out")));
        }
        if self.cursor.sees("[") {
            return Err(self
                .cursor
                .wrong(format!("`{name}[...]` has attributes, which are not supported: leave them out")));
        }
        self.cursor.expect(":", "behind a name")?;
        self.names.begin();
        self.blank();
        // A rule may begin in the line below, with its first bar.
        self.next_bar();
        let body = self.alternatives(false)?;
        self.names.define(&name, is_terminal(&name), line, body)
    }

    fn name(&mut self) -> Result<String> {
        let name = self.cursor.take(in_name).to_string();
        let first = name.trim_start_matches('_').chars().next();
        match first {
            Some(first) if first.is_ascii_alphabetic() => {
                let terminal = is_terminal(&name);
                let mixed = |letter: char| if terminal { letter.is_lowercase() } else { letter.is_uppercase() };
                if name.chars().any(mixed) {
                    return Err(self
                        .cursor
                        .wrong(format!("`{name}` is in both cases: rules are in lower case, terminals in capitals")));
                }
                Ok(name)
            }
            _ => Err(self.cursor.wrong(format!("{} stands where a name belongs", self.cursor.seen(&name)))),
        }
    }

    /// Parts between bars.
    fn alternatives(&mut self, grouped: bool) -> Result<Item> {
        let mut items = Vec::new();
        loop {
            let mut both = vec![self.sequence(grouped)?];
            while self.cursor.eat("&") {
                both.push(self.sequence(grouped)?);
            }
            items.push(if both.len() == 1 { both.remove(0) } else { Item::All(both) });
            if self.cursor.eat("->") {
                self.blank();
                self.name()?;
                self.skip(grouped);
            }
            if !self.cursor.eat("|") && (grouped || !self.next_bar()) {
                return Ok(Item::choice(items));
            }
        }
    }

    /// Passes to behind a bar in a line below, if the next line that says something begins with one.
    fn next_bar(&mut self) -> bool {
        let mut ahead = self.cursor.clone();
        ahead.space(true, &COMMENTS);
        let found = ahead.line > self.cursor.line && ahead.eat("|");
        if found {
            self.cursor = ahead;
        }
        found
    }

    fn sequence(&mut self, grouped: bool) -> Result<Item> {
        let mut items = Vec::new();
        loop {
            self.skip(grouped);
            match self.cursor.peek() {
                None | Some('\n' | '|' | '&' | ')' | ']') => return Ok(Item::sequence(items)),
                Some('-') if self.cursor.sees("->") => return Ok(Item::sequence(items)),
                Some(_) => {
                    let item = self.part()?;
                    items.push(item);
                }
            }
        }
    }

    /// One part, and how often.
    fn part(&mut self) -> Result<Item> {
        let negated = self.cursor.eat("~");
        self.blank();
        let mut item = self.atom()?;
        if negated {
            item = Item::Not(Box::new(item));
        }
        let (mut before, mut times) = (self.cursor.clone(), 0);
        while let Some((from, to)) = self.times()? {
            item = item.repeated(from, to);
            times += 1;
            // What lies within itself without a group has no bound.
            if times > 1 {
                return Err(before.wrong("a part is repeated twice: put it into a group of its own"));
            }
            before = self.cursor.clone();
        }
        self.cursor = before;
        Ok(item)
    }

    /// How often the part before it stands, if it is said here.
    fn times(&mut self) -> Result<Option<(u32, Option<u32>)>> {
        self.blank();
        let times = match self.cursor.peek() {
            Some('?') => (0, Some(1)),
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('{') => {
                self.cursor.bump();
                return self.cursor.bounds().map(Some);
            }
            Some('~') => {
                self.cursor.bump();
                self.blank();
                // Before anything but a number it belongs to the next part.
                if !self.cursor.peek().is_some_and(|letter| letter.is_ascii_digit()) {
                    return Ok(None);
                }
                let from = self.cursor.number()?;
                let to = if self.cursor.eat("..") { self.cursor.number()? } else { from };
                return self.cursor.ordered(from, Some(to)).map(Some);
            }
            _ => return Ok(None),
        };
        self.cursor.bump();
        Ok(Some(times))
    }

    fn atom(&mut self) -> Result<Item> {
        match self.cursor.peek() {
            Some('(') => self.group("(", ")"),
            Some('[') => Ok(self.group("[", "]")?.repeated(0, Some(1))),
            Some('"') => literal(&mut self.cursor),
            Some('/') => expression(&mut self.cursor),
            Some(letter) if in_name(letter) => {
                let line = self.cursor.line;
                let name = self.name()?;
                if self.cursor.sees("{") {
                    let mut ahead = self.cursor.clone();
                    ahead.eat("{");
                    if !ahead.peek().is_some_and(|letter| letter.is_ascii_digit() || letter == ',' || letter == ' ') {
                        let message = format!("`{name}{{...}}` uses a template, which is not supported: write it out");
                        return Err(self.cursor.wrong(message));
                    }
                }
                Ok(self.names.refer(&name, is_terminal(&name), line))
            }
            Some('<' | '@') => Err(self
                .cursor
                .wrong(format!("{} begins a token or another grammar, which is not supported", self.cursor.seen("")))),
            Some('%') => Err(self.cursor.wrong("a directive stands within a definition, which is not supported")),
            _ => Err(self.cursor.wrong(format!("{} stands where a part belongs", self.cursor.seen("")))),
        }
    }

    fn group(&mut self, open: &str, close: &str) -> Result<Item> {
        let line = self.cursor.line;
        self.cursor.eat(open);
        self.cursor.open()?;
        let item = self.alternatives(true)?;
        self.cursor.close();
        self.cursor.expect(close, &format!("at the end of the group of line {line}"))?;
        Ok(item)
    }

    fn blank(&mut self) {
        self.cursor.space(false, &COMMENTS);
    }

    fn skip(&mut self, grouped: bool) {
        self.cursor.space(grouped, &COMMENTS);
    }
}

fn in_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Whether a name is that of a terminal.
fn is_terminal(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|first: char| first.is_ascii_uppercase())
}
