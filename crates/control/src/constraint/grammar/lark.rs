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

use regex_automata::util::syntax;

use super::cursor::Cursor;
use super::lark_terminals::shared_terminal;
use super::syntax::{Definition, Item, Names};
use crate::automaton::one_line;
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
        return Err(super::syntax::wrong(rule.line, message));
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
        let mut negations = 0;
        while self.cursor.eat("~") {
            negations += 1;
            self.blank();
        }
        let mut item = self.atom()?;
        for _ in 0..negations {
            item = Item::Not(Box::new(item));
        }
        loop {
            let before = self.cursor.clone();
            self.blank();
            item = match self.cursor.peek() {
                Some('?') => self.times(item, 0, Some(1)),
                Some('*') => self.times(item, 0, None),
                Some('+') => self.times(item, 1, None),
                Some('{') => {
                    self.cursor.eat("{");
                    let (from, to) = self.cursor.bounds()?;
                    item.repeated(from, to)
                }
                Some('~') => {
                    self.cursor.eat("~");
                    self.blank();
                    // Before anything but a number it belongs to the next part.
                    if !self.cursor.peek().is_some_and(|letter| letter.is_ascii_digit()) {
                        self.cursor = before;
                        return Ok(item);
                    }
                    let from = self.cursor.number()?;
                    let to = if self.cursor.eat("..") { self.cursor.number()? } else { from };
                    let (from, to) = self.cursor.ordered(from, Some(to))?;
                    item.repeated(from, to)
                }
                _ => {
                    self.cursor = before;
                    return Ok(item);
                }
            };
        }
    }

    fn times(&mut self, item: Item, from: u32, to: Option<u32>) -> Item {
        self.cursor.bump();
        item.repeated(from, to)
    }

    fn atom(&mut self) -> Result<Item> {
        match self.cursor.peek() {
            Some('(') => self.group("(", ")"),
            Some('[') => Ok(self.group("[", "]")?.repeated(0, Some(1))),
            Some('"') => self.literal(),
            Some('/') => self.expression(),
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

    /// `"text"`, `"text"i`, or `"a".."z"`.
    fn literal(&mut self) -> Result<Item> {
        let text = self.quoted()?;
        if self.cursor.eat("..") {
            let end = self.quoted()?;
            let (Some(first), Some(last)) = (single(&text), single(&end)) else {
                return Err(self.cursor.wrong("a range does not go from one character to one character"));
            };
            if first > last {
                return Err(self.cursor.wrong(format!("the range from `{first}` to `{last}` is empty: turn it round")));
            }
            return Ok(Item::Class { ranges: vec![(first, last)], negated: false });
        }
        let any_case = self.cursor.eat("i");
        Ok(Item::Literal { text, any_case })
    }

    fn quoted(&mut self) -> Result<String> {
        self.cursor.expect("\"", "at a text")?;
        let mut text = String::new();
        loop {
            match self.cursor.bump() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(match self.cursor.peek() {
                    Some('f') => {
                        self.cursor.bump();
                        '\u{c}'
                    }
                    _ => self.cursor.escape("\\\"'/")?,
                }),
                Some('\n') | None => {
                    return Err(self.cursor.wrong("a text does not end in its line: close it with `\"`"));
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    /// `/expression/flags`.
    fn expression(&mut self) -> Result<Item> {
        let line = self.cursor.line;
        self.cursor.bump();
        let mut pattern = String::new();
        loop {
            match self.cursor.bump() {
                Some('/') => break,
                Some('\\') => match self.cursor.bump() {
                    Some('/') => pattern.push('/'),
                    Some(letter) => pattern.extend(['\\', letter]),
                    None => return Err(super::syntax::wrong(line, "an expression does not end: close it with `/`")),
                },
                Some(letter) => pattern.push(letter),
                None => return Err(super::syntax::wrong(line, "an expression does not end: close it with `/`")),
            }
        }
        let flags = self.cursor.take(|letter| letter.is_ascii_alphabetic());
        if let Some(flag) = flags.chars().find(|flag| !"imsxu".contains(*flag)) {
            return Err(self
                .cursor
                .wrong(format!("the flag `{flag}` of an expression is not supported: leave it out")));
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
            super::syntax::wrong(
                line,
                format!("`{pattern}` is no regular expression that can be used: {}", one_line(&error)),
            )
        })?;
        if !parsed.properties().look_set().is_empty() {
            let message = format!(
                "`{pattern}` looks at what is beside it (`^`, `$`, `\\b`), which is not supported: leave it out"
            );
            return Err(super::syntax::wrong(line, message));
        }
        Ok(Item::Pattern(pattern))
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

/// The only character of a text.
fn single(text: &str) -> Option<char> {
    let mut letters = text.chars();
    letters.next().filter(|_| letters.next().is_none())
}
