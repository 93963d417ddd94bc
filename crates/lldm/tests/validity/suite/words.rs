//! Words in texts by plain searching, and the same byte by byte with sets of places (bits of a number).

use lldm::control::constraint::{Case, Match, Order};

use super::lengths::Part;

/// Where `word` stands in `text`: from and to, in bytes of the text whose case was folded where it does not matter.
pub(crate) fn places(text: &str, word: &str, matches: Match, case: Case) -> Vec<(usize, usize)> {
    let (text, word) = match case {
        Case::Exact => (text.to_string(), word.to_string()),
        Case::Any => (folded(text), folded(word)),
    };
    let bytes = text.as_bytes();
    let apart = |at: Option<&u8>| !at.is_some_and(|byte| is_inner(*byte));
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(&word) {
        let (start, end) = (from + at, from + at + word.len());
        let whole = apart(start.checked_sub(1).and_then(|at| bytes.get(at))) && apart(bytes.get(end));
        if matches == Match::Substring || whole {
            found.push((start, end));
        }
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    found
}

/// Whether the words stand there as asked.
pub(crate) fn stand(text: &str, words: &[String], order: Order, matches: Match, case: Case) -> bool {
    let mut all = words.iter().map(|word| places(text, word, matches, case));
    match order {
        Order::All => all.all(|places| !places.is_empty()),
        Order::Any => all.any(|places| !places.is_empty()),
        Order::InOrder => {
            // The earliest end behind which the next one begins; something stands between whole words.
            let apart = usize::from(matches == Match::Word);
            let mut from = Some(0);
            for places in all {
                let ends = |from: usize| places.iter().filter(|place| place.0 >= from).map(|place| place.1).min();
                from = from.and_then(ends).map(|end| end + apart);
            }
            from.is_some()
        }
    }
}

/// One case for each letter, as simple case folding has it.
fn folded(text: &str) -> String {
    let single = |letter: char, mut others: Box<dyn Iterator<Item = char>>| match (others.next(), others.next()) {
        (Some(one), None) => one,
        _ => letter,
    };
    let fold = |letter: char| {
        let upper = single(letter, Box::new(letter.to_uppercase()));
        single(upper, Box::new(upper.to_lowercase()))
    };
    text.chars().map(fold).collect()
}

/// Whether a byte may be a part of a word.
fn is_inner(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A word being looked for.
pub(crate) struct Finder {
    word: Vec<u8>,
    whole: bool,
    any_case: bool,
}

/// The byte before was a part of a word.
const INNER: u64 = 1 << 54;
/// The word was found.
const FOUND: u64 = 1 << 55;

impl Finder {
    /// Of a word of at most 50 bytes.
    pub(crate) fn new(word: &str, matches: Match, case: Case) -> Self {
        assert!(word.len() <= 50, "the places of `{word}` do not fit into a number");
        Self { word: word.as_bytes().to_vec(), whole: matches == Match::Word, any_case: case == Case::Any }
    }

    fn step(&self, state: u64, byte: u8) -> u64 {
        if state & FOUND != 0 {
            return FOUND;
        }
        let last = 1 << self.word.len();
        if self.whole && state & last != 0 && !is_inner(byte) {
            return FOUND;
        }
        let begins = u64::from(!self.whole || state & INNER == 0);
        let mut next = if is_inner(byte) { INNER } else { 0 };
        for at in 0..self.word.len() {
            if (state | begins) >> at & 1 == 1 && self.same(at, byte) {
                next |= 2 << at;
            }
        }
        if !self.whole && next & last != 0 { FOUND } else { next }
    }

    fn found(&self, state: u64) -> bool {
        state & FOUND != 0 || (self.whole && state >> self.word.len() & 1 == 1)
    }

    /// Upper and lower case of ASCII's letters and of those with accents in Latin-1.
    fn same(&self, at: usize, byte: u8) -> bool {
        let own = self.word[at];
        let accented = at > 0 && self.word[at - 1] == 0xC3 && (own | 0x20) == (byte | 0x20) && (own | 0x20) >= 0xA0;
        own == byte
            || (self.any_case && (own.eq_ignore_ascii_case(&byte) || (accented && !matches!(own | 0x20, 0xB7 | 0xBF))))
    }
}

/// Several words side by side: all of them in any order, or one of them.
pub(crate) struct Several {
    /// The words.
    pub(crate) words: Vec<Finder>,
    /// Whether all are wanted.
    pub(crate) all: bool,
}

/// Words one behind the other.
pub(crate) struct InOrder(pub(crate) Vec<Finder>);

/// A word that must not stand there.
pub(crate) struct Without(pub(crate) Finder);

impl Part for Finder {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        Some(self.step(state, byte))
    }

    fn accepts(&self, state: u64) -> bool {
        self.found(state)
    }
}

impl Several {
    /// Whether the state of such words fits into a number.
    pub(crate) fn fits(words: &[String]) -> bool {
        words.iter().map(|word| word.len() + 1).sum::<usize>() < 63
    }

    /// Each word with its share of the state, which begins with whether the word was found.
    fn shares(&self, state: u64) -> impl Iterator<Item = (&Finder, u32, u64)> {
        let mut shift = 0;
        self.words.iter().map(move |finder| {
            let (bits, from) = (finder.word.len() as u32 + 1, shift);
            shift += bits;
            let own = state >> from & ((1 << bits) - 1);
            // A place before the first letter is never kept.
            (finder, from, if own & 1 == 1 { FOUND } else { own })
        })
    }
}

/// The last bit says whether the byte before was a part of a word.
impl Part for Several {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let inner = if state >> 63 == 1 { INNER } else { 0 };
        let mut next = u64::from(is_inner(byte)) << 63;
        for (finder, from, own) in self.shares(state) {
            let after = finder.step(own | inner, byte);
            next |= if after & FOUND != 0 { 1 } else { after & (INNER - 1) } << from;
        }
        Some(next)
    }

    fn accepts(&self, state: u64) -> bool {
        let mut found = self.shares(state).map(|(finder, _, own)| finder.found(own));
        if self.all { found.all(|found| found) } else { found.any(|found| found) }
    }
}

/// The upper bits count the words found.
impl Part for InOrder {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let (word, own) = ((state >> 56) as usize, state & ((1 << 56) - 1));
        let Some(finder) = self.0.get(word) else { return Some(state) };
        let after = finder.step(own, byte);
        Some(if after & FOUND != 0 { ((word + 1) as u64) << 56 } else { ((word as u64) << 56) | after })
    }

    fn accepts(&self, state: u64) -> bool {
        let word = (state >> 56) as usize;
        word == self.0.len() || (word + 1 == self.0.len() && self.0[word].found(state & ((1 << 56) - 1)))
    }
}

impl Part for Without {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        Some(self.0.step(state, byte)).filter(|state| state & FOUND == 0)
    }

    fn accepts(&self, state: u64) -> bool {
        !self.0.found(state)
    }
}

/// How a text begins.
pub(crate) struct Begins(pub(crate) Vec<u8>);

/// How a text ends.
pub(crate) struct Ends(pub(crate) Vec<u8>);

/// Words, from-to.
pub(crate) struct CountWords(pub(crate) u32, pub(crate) Option<u32>);

/// Sentences, from-to.
pub(crate) struct CountSentences(pub(crate) u32, pub(crate) Option<u32>);

impl Part for Begins {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        match self.0.get(state as usize) {
            Some(own) => (*own == byte).then_some(state + 1),
            None => Some(state),
        }
    }

    fn accepts(&self, state: u64) -> bool {
        state as usize == self.0.len()
    }
}

impl Part for Ends {
    fn start(&self) -> u64 {
        1
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let goes_on = self.0.iter().enumerate().filter(|(at, own)| state >> at & 1 == 1 && **own == byte);
        Some(goes_on.fold(1, |next, (at, _)| next | 2 << at))
    }

    fn accepts(&self, state: u64) -> bool {
        state >> self.0.len() & 1 == 1
    }
}

/// The count, and whether a word goes on.
impl Part for CountWords {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let (count, inside) = (state >> 1, state & 1 == 1);
        if byte.is_ascii_whitespace() {
            return Some(count << 1);
        }
        let count = if inside { count } else { one_more(count, self.0, self.1)? };
        Some(count << 1 | 1)
    }

    fn accepts(&self, state: u64) -> bool {
        state >> 1 >= u64::from(self.0)
    }
}

/// The count, and 0 between sentences, 1 within one, 2 behind a mark.
impl Part for CountSentences {
    fn start(&self) -> u64 {
        0
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let (count, place) = (state >> 2, state & 3);
        let space = byte.is_ascii_whitespace();
        Some(match (place, byte) {
            (0, _) if space => state,
            (2, _) if space => one_more(count, self.0, self.1)? << 2,
            (2, b'"' | b'\'' | b')' | b']') => state,
            (_, b'.' | b'!' | b'?') => count << 2 | 2,
            _ => count << 2 | 1,
        })
    }

    fn accepts(&self, state: u64) -> bool {
        match state & 3 {
            0 => state >> 2 >= u64::from(self.0),
            2 => one_more(state >> 2, self.0, self.1).is_some_and(|count| count >= u64::from(self.0)),
            _ => false,
        }
    }
}

/// One more; all counts above the lower bound are alike where there is no upper one.
fn one_more(count: u64, from: u32, to: Option<u32>) -> Option<u64> {
    match to {
        Some(to) => (count < u64::from(to)).then_some(count + 1),
        None => Some((count + 1).min(u64::from(from))),
    }
}

/// Whether a text has so many words.
pub(crate) fn words_within(text: &str, from: u32, to: Option<u32>) -> bool {
    within(text.split_ascii_whitespace().count(), from, to)
}

/// Whether a text has so many sentences, and ends with one.
pub(crate) fn sentences_within(text: &str, from: u32, to: Option<u32>) -> bool {
    const CLOSERS: [char; 4] = ['"', '\'', ')', ']'];
    const MARKS: [char; 3] = ['.', '!', '?'];
    // Behind the word's last mark stand closing signs alone.
    let ends = |word: &str| word.trim_end_matches(CLOSERS).ends_with(MARKS);
    let all: Vec<bool> = text.split_ascii_whitespace().map(ends).collect();
    all.last().copied().unwrap_or(true) && within(all.iter().filter(|ends| **ends).count(), from, to)
}

fn within(count: usize, from: u32, to: Option<u32>) -> bool {
    count >= from as usize && to.is_none_or(|to| count <= to as usize)
}
