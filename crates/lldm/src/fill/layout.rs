//! Where kept text can stand on a canvas token by token, and where it can only be spelled.
//!
//! Most tokens bring the space before them along, and a word may be one token or several. So what borders on a gap is not given as
//! tokens: a space in front of it, a word that it goes on with. These letters are spelled by the tokens of the gap, which the
//! constraint sees to; all other kept text is given.

use lldm_diffusion::Token;
use lldm_models::Tokenizer;

use super::text::FillText;
use crate::error::Result;

/// A text on its way to a canvas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The text in front of the canvas, and its tokens.
    pub(super) head: String,
    pub(super) prefix: Vec<Token>,
    /// What stands on the canvas, gap by gap.
    pub(super) parts: Vec<Part>,
}

/// A gap, and the kept text behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Kept letters before the gap that its tokens spell.
    pub(super) before: String,
    /// Kept letters behind the gap that its tokens spell.
    pub(super) after: String,
    /// Kept text behind these, and its tokens.
    pub(super) given: String,
    pub(super) tokens: Vec<Token>,
    /// The fewest tokens before the given ones that are sure to be enough.
    pub(super) fewest: usize,
}

impl Layout {
    pub(super) fn new(text: &FillText, tokenizer: &Tokenizer) -> Result<Self> {
        let split_end = if text.whole_words { split_space } else { split_end };
        let split_start = if text.whole_words { |text| ("", text) } else { split_start };
        let (head, mut before) = split_end(&text.kept[0]);
        let (head, prefix) = (head.to_string(), tokenizer.encode(head)?);
        let mut parts = Vec::new();
        for (number, kept) in text.kept.iter().enumerate().skip(1) {
            let (after, rest) = split_start(kept);
            let last = number + 1 == text.kept.len();
            let (given, next) = if last { (rest, "") } else { split_end(rest) };
            let tokens = tokenizer.encode(given)?;
            let spelled = tokenizer.encode(before)?.len() + tokenizer.encode(after)?.len();
            parts.push(Part {
                before: before.to_string(),
                after: after.to_string(),
                given: given.to_string(),
                tokens,
                fewest: spelled + 1,
            });
            before = next;
        }
        Ok(Self { head, prefix, parts })
    }
}

/// What of a text before a gap is given, and what is spelled: a word that is not over, and one space.
fn split_end(text: &str) -> (&str, &str) {
    let word = text.trim_end_matches(char::is_alphanumeric);
    let given = word.strip_suffix(' ').unwrap_or(word);
    text.split_at(given.len())
}

/// The same where words are over: one space.
fn split_space(text: &str) -> (&str, &str) {
    text.split_at(text.strip_suffix(' ').unwrap_or(text).len())
}

/// What of a text behind a gap is spelled, a word that has begun, and what is given.
fn split_start(text: &str) -> (&str, &str) {
    text.split_at(text.len() - text.trim_start_matches(char::is_alphanumeric).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_spaces_at_a_gap_are_spelled() {
        assert_eq!(split_end("The big "), ("The big", " "));
        assert_eq!(split_end("The spa"), ("The", " spa"));
        assert_eq!(split_end("a (\""), ("a (\"", ""));
        assert_eq!(split_end("line\n"), ("line\n", ""));
        assert_eq!(split_end("Wort"), ("", "Wort"));
        assert_eq!(split_start(" sat"), ("", " sat"));
        assert_eq!(split_start("ship. No"), ("ship", ". No"));
        assert_eq!(split_start(""), ("", ""));
    }
}
