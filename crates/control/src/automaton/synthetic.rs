//! A vocabulary that looks like that of a byte-level BPE tokenizer, of any size and from a seed: for measurements where no tokenizer
//! of that size is at hand.
//!
//! All bytes are there, runs of white space, numbers of up to three digits, runs of punctuation, words with and without a space or a
//! capital in front, identifiers, and pieces of other scripts: about in the shares in which large multilingual vocabularies hold them.

use std::collections::HashSet;

use lldm_diffusion::rng::stream;

/// Words that schemas and prompts use, so that they are one token as they would be.
const WORDS: &str = "a about address age all an and any are array as at be but by can category city code color comment content \
    count country currency data date day description do email end enum error false false first for from get had has have he her his \
    hour id if in integer is it items key kind last length level list me message month my name new no not note null number object \
    ocean of on one or order out owner parent phone price quantity rating reason result road role score set she size so spaceship \
    state status street string tags text that the their there they this time title to total true two type unit up url user value \
    version was we weight were what when which will with word year you zip";
const PUNCTUATION: &[u8] = br##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;
/// First letters of a few scripts and how many follow.
const SCRIPTS: [(u32, u32); 8] =
    [(0xE0, 32), (0x3B1, 25), (0x430, 32), (0x5D0, 27), (0x628, 35), (0x905, 53), (0x4E00, 6000), (0xAC00, 4000)];
/// Tries for each token, before the vocabulary is given up as too large.
const TRIES: u64 = 64;

/// The bytes of `size` tokens, all different. The first three are special and have none; the second ends a text.
pub fn synthetic_tokens(size: usize, seed: u64) -> Vec<Option<Vec<u8>>> {
    let mut tokens = Tokens { all: vec![None; size.min(3)], seen: HashSet::new(), size };
    for byte in 0..=255 {
        tokens.add(vec![byte]);
    }
    for length in 2..32 {
        tokens.add(vec![b' '; length]);
    }
    for length in 2..12 {
        tokens.add(vec![b'\n'; length]);
        tokens.add(vec![b'\t'; length]);
    }
    for number in 10..1000 {
        tokens.add(number.to_string().into_bytes());
    }
    for word in WORDS.split_whitespace() {
        for form in 0..4 {
            tokens.add(shaped(word.as_bytes(), form));
        }
    }
    for index in 0.. {
        if tokens.all.len() == size || index > TRIES * size as u64 {
            break;
        }
        let mut dice = Dice { key: seed, index: index << 8 };
        let token = match dice.below(100) {
            0..7 => punctuation(&mut dice),
            7..77 => {
                let form = dice.below(4);
                shaped(&word(&mut dice), form)
            }
            77..82 => identifier(&mut dice),
            _ => foreign(&mut dice),
        };
        tokens.add(token);
    }
    tokens.all
}

/// The tokens so far.
struct Tokens {
    all: Vec<Option<Vec<u8>>>,
    seen: HashSet<Vec<u8>>,
    size: usize,
}

impl Tokens {
    fn add(&mut self, token: Vec<u8>) {
        if self.all.len() < self.size && self.seen.insert(token.clone()) {
            self.all.push(Some(token));
        }
    }
}

/// Random numbers for one token.
struct Dice {
    key: u64,
    index: u64,
}

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.index += 1;
        stream(self.key, self.index) % bound
    }

    fn of(&mut self, letters: &[u8]) -> u8 {
        letters[self.below(letters.len() as u64) as usize]
    }
}

/// Syllables; short words are more frequent.
fn word(dice: &mut Dice) -> Vec<u8> {
    let syllables = 1 + dice.below(4).min(dice.below(5));
    let mut out = Vec::new();
    for _ in 0..syllables {
        if dice.below(5) > 0 {
            out.push(dice.of(b"bcdfghjklmnprstvwz"));
        }
        if dice.below(5) == 0 {
            out.push(dice.of(b"hlrtn"));
        }
        out.push(dice.of(b"aeiouaeioy"));
        if dice.below(2) == 0 {
            out.push(dice.of(b"nrstlmdngck"));
        }
    }
    out
}

/// Plain, with a space, with a capital, with both.
fn shaped(word: &[u8], form: u64) -> Vec<u8> {
    let mut out = if form % 2 == 1 { vec![b' '] } else { Vec::new() };
    let start = out.len();
    out.extend(word);
    if form >= 2 {
        out[start].make_ascii_uppercase();
    }
    out
}

/// A run of one mark, or a few marks with a space before or a line's end behind.
fn punctuation(dice: &mut Dice) -> Vec<u8> {
    let mut out = if dice.below(3) == 0 { vec![b' '] } else { Vec::new() };
    let mark = dice.of(PUNCTUATION);
    if dice.below(4) == 0 {
        out.extend(std::iter::repeat_n(mark, 2 + dice.below(40) as usize));
    } else {
        out.push(mark);
        out.extend((0..1 + dice.below(4)).map(|_| dice.of(PUNCTUATION)).collect::<Vec<_>>());
    }
    if dice.below(5) == 0 {
        out.push(b'\n');
    }
    out
}

/// Words as programs join them.
fn identifier(dice: &mut Dice) -> Vec<u8> {
    let (first, second) = (word(dice), word(dice));
    match dice.below(4) {
        0 => [b"_", &first[..]].concat(),
        1 => [b".", &first[..]].concat(),
        2 => [&first[..], b"("].concat(),
        _ => [first, shaped(&second, 2)].concat(),
    }
}

/// Letters of one other script, with a space before or Latin letters around.
fn foreign(dice: &mut Dice) -> Vec<u8> {
    let (first, count) = SCRIPTS[dice.below(SCRIPTS.len() as u64) as usize];
    let letters = if count > 1000 { 1 + dice.below(3) } else { 1 + dice.below(6) };
    let mut out = if dice.below(2) == 0 { String::from(" ") } else { String::new() };
    for _ in 0..letters {
        if first == 0xE0 && dice.below(2) == 0 {
            out.push(char::from(dice.of(b"abcdefghijklmnopqrstuvwxyz")));
        }
        out.extend(char::from_u32(first + dice.below(u64::from(count)) as u32));
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_as_many_as_asked_for_all_different_and_the_same_again() {
        let tokens = synthetic_tokens(20_000, 5);
        let distinct: HashSet<_> = tokens.iter().flatten().collect();
        assert_eq!((tokens.len(), distinct.len()), (20_000, 19_997));
        assert!(tokens[..3].iter().all(Option::is_none));
        assert!((0..=255u8).all(|byte| distinct.contains(&vec![byte])));
        assert_eq!(tokens, synthetic_tokens(20_000, 5));
        assert_ne!(tokens, synthetic_tokens(20_000, 6));
        assert_eq!(synthetic_tokens(2, 5), [None, None]);
    }
}
