//! Random templates, and a judge that goes through their parts.

use lldm::control::constraint::Template;

use super::case::{Case, Demand, Kind};
use super::dice::Dice;
use super::lengths::Part;

/// A part of a template.
#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// So many letters, from-to.
    Gap(usize, Option<usize>),
}

const TEXTS: [&str; 14] =
    ["Dear ", ", ", "yours ", ".", "(", ")", "{x}", "__", " is ", "=", "a", "über ", "\n", "[1-2]* "];

/// The case of that number.
pub(crate) fn case(seed: u64, index: usize) -> Case {
    let mut dice = Dice::new(seed, "templates", index);
    Case::new(Kind::Templates, vec![demand(&mut dice)])
}

/// A template of one to three gaps between texts.
pub(crate) fn demand(dice: &mut Dice) -> Demand {
    let mut pieces = Vec::new();
    for at in 0..dice.between(2, 6) {
        let gap = matches!(pieces.last(), Some(Piece::Text(_))) || (at == 0 && dice.chance(0.3));
        if !gap {
            pieces.push(Piece::Text(dice.pick(&TEXTS).to_string()));
            continue;
        }
        let from = dice.below(5);
        pieces.push(match dice.below(4) {
            0 => Piece::Gap(from, Some(from)),
            1 => Piece::Gap(from, None),
            2 => Piece::Gap(from, Some(from + dice.below(6))),
            _ => Piece::Gap(1, None),
        });
    }
    // Underscores at the edge of a text would be taken for more of the gap beside it, and a brace behind one for its bounds.
    for at in 0..pieces.len() {
        let gap_before = at > 0 && matches!(pieces[at - 1], Piece::Gap(..));
        let gap_behind = matches!(pieces.get(at + 1), Some(Piece::Gap(..)));
        if let Piece::Text(text) = &mut pieces[at]
            && (gap_before && text.starts_with('_') || gap_behind && text.ends_with('_'))
        {
            *text = format!("-{text}-");
        }
    }
    let written: String = pieces.iter().map(|piece| spelled(piece, dice)).collect();
    let judged = pieces.clone();
    let language = Template(written.clone());
    Demand {
        what: format!("template {written:?}"),
        add: Box::new(move |all| all.with(language.clone())),
        judge: Box::new(move |text| fits(&text.chars().collect::<Vec<_>>(), &judged)),
        part: Some(Box::new(Walk::new(&pieces))),
    }
}

fn spelled(piece: &Piece, dice: &mut Dice) -> String {
    let line = "_".repeat(dice.between(3, 5));
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::Gap(1, None) if dice.chance(0.5) => line,
        Piece::Gap(from, None) => format!("{line}{{{from},}}"),
        Piece::Gap(from, Some(to)) if from == to => format!("{line}{{{from}}}"),
        Piece::Gap(from, Some(to)) => format!("{line}{{{from},{to}}}"),
    }
}

/// Whether the letters are the pieces, whatever stands in the gaps.
fn fits(letters: &[char], pieces: &[Piece]) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return letters.is_empty() };
    match first {
        Piece::Text(text) => {
            let own: Vec<_> = text.chars().collect();
            letters.strip_prefix(own.as_slice()).is_some_and(|letters| fits(letters, rest))
        }
        Piece::Gap(from, to) => {
            let most = to.unwrap_or(letters.len()).min(letters.len());
            (*from..=most).any(|count| fits(&letters[count..], rest))
        }
    }
}

/// The pieces letter by letter: places of which several may be open at once.
struct Walk {
    steps: Vec<Step>,
}

#[derive(Clone, Copy)]
enum Step {
    /// This byte.
    Byte(u8),
    /// Any letter.
    Letter,
    /// Any letter, or nothing.
    Optional,
    /// Any letters.
    Many,
}

impl Walk {
    fn new(pieces: &[Piece]) -> Self {
        let mut steps = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => steps.extend(text.bytes().map(Step::Byte)),
                Piece::Gap(from, to) => {
                    steps.extend(vec![Step::Letter; *from]);
                    match to {
                        Some(to) => steps.extend(vec![Step::Optional; to - from]),
                        None => steps.push(Step::Many),
                    }
                }
            }
        }
        assert!(steps.len() < 58, "the places of {} steps do not fit into a number", steps.len());
        Self { steps }
    }

    /// With the places that are reached without a letter.
    fn closed(&self, mut state: u64) -> u64 {
        for (at, step) in self.steps.iter().enumerate() {
            if state >> at & 1 == 1 && matches!(step, Step::Optional | Step::Many) {
                state |= 2 << at;
            }
        }
        state
    }
}

/// Letters of several bytes are read whole: the upper bits say how many bytes of one are to come, and what they may be.
impl Part for Walk {
    fn start(&self) -> u64 {
        self.closed(1)
    }

    fn next(&self, state: u64, byte: u8) -> Option<u64> {
        let (places, within) = (state & ((1 << 58) - 1), (state >> 58) as u8);
        let within = letter_goes_on(within, byte)?;
        let mut next = 0;
        for (at, step) in self.steps.iter().enumerate().filter(|(at, _)| places >> at & 1 == 1) {
            next |= match step {
                Step::Byte(own) if *own == byte => 2 << at,
                Step::Byte(_) => 0,
                // The place is left with the letter's last byte.
                Step::Letter | Step::Optional if within == 0 => 2 << at,
                Step::Letter | Step::Optional | Step::Many => 1 << at,
            };
        }
        if within == 0 {
            next = self.closed(next);
        }
        (next != 0).then_some(next | u64::from(within) << 58)
    }

    fn accepts(&self, state: u64) -> bool {
        state >> 58 == 0 && state >> self.steps.len() & 1 == 1
    }
}

/// UTF-8 (RFC 3629): 0 between letters; 1, 2 and 3 where so many bytes are to come; above that where the next is narrowed.
fn letter_goes_on(state: u8, byte: u8) -> Option<u8> {
    Some(match (state, byte) {
        (0, ..=0x7f) => 0,
        (0, 0xc2..=0xdf) => 1,
        (0, 0xe0) => 4,
        (0, 0xed) => 5,
        (0, 0xe1..=0xef) => 2,
        (0, 0xf0) => 6,
        (0, 0xf4) => 7,
        (0, 0xf1..=0xf3) => 3,
        (1..=3, 0x80..=0xbf) => state - 1,
        (4, 0xa0..=0xbf) | (5, 0x80..=0x9f) => 1,
        (6, 0x90..=0xbf) | (7, 0x80..=0x8f) => 2,
        _ => return None,
    })
}
