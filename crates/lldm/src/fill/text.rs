//! A text with gaps, as it is asked for.

use std::ops::Range;

use crate::error::{Error, Result};

/// A text of which parts are written anew: kept parts and gaps take turns, the first and the last part is kept (and may be empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillText {
    /// The kept parts, one more than there are gaps.
    pub(super) kept: Vec<String>,
    /// What stands in the gaps, where something does.
    pub(super) gaps: Vec<Option<String>>,
    /// Whether the words beside a gap are over, so that it does not go on with them.
    pub(super) whole_words: bool,
}

impl FillText {
    /// A text in which `mask` stands for the gaps.
    ///
    /// # Errors
    /// Where there is no gap.
    pub fn masked(text: &str, mask: &str) -> Result<Self> {
        if mask.is_empty() {
            return Err(wrong("the mask is empty: name the letters that stand for a gap"));
        }
        let kept: Vec<_> = text.split(mask).map(ToString::to_string).collect();
        if kept.len() == 1 {
            return Err(wrong(format!("`{mask}` does not stand in the text: there is no gap to fill")));
        }
        Ok(Self { gaps: vec![None; kept.len() - 1], kept, whole_words: false })
    }

    /// A gap between two texts, whose words are over: what stands between begins and ends with a space, a mark or whole words.
    pub fn between(prefix: &str, suffix: &str) -> Self {
        Self { kept: vec![prefix.to_string(), suffix.to_string()], gaps: vec![None], whole_words: true }
    }

    /// A text of which some ranges of bytes are written anew.
    ///
    /// # Errors
    /// Where a range is empty, overlaps another, or does not lie between letters of the text.
    pub fn spans(text: &str, spans: &[Range<usize>]) -> Result<Self> {
        let mut spans = spans.to_vec();
        spans.sort_by_key(|span| span.start);
        let (mut kept, mut gaps, mut from) = (Vec::new(), Vec::new(), 0);
        for Range { start, end } in spans {
            if start >= end {
                return Err(wrong(format!("the span {start}..{end} holds nothing")));
            }
            if start < from {
                return Err(wrong(format!("the span {start}..{end} overlaps the one before")));
            }
            let (Some(before), Some(inside)) = (text.get(from..start), text.get(start..end)) else {
                let length = text.len();
                return Err(wrong(format!(
                    "the span {start}..{end} does not lie between letters of the text, which has {length} bytes"
                )));
            };
            kept.push(before.to_string());
            gaps.push(Some(inside.to_string()));
            from = end;
        }
        if gaps.is_empty() {
            return Err(wrong("no span is given: there is nothing to write"));
        }
        kept.push(text[from..].to_string());
        Ok(Self { kept, gaps, whole_words: false })
    }

    /// The text before the first gap.
    pub fn head(&self) -> &str {
        &self.kept[0]
    }

    /// The text with these fillings.
    pub(super) fn filled(&self, gaps: &[String]) -> String {
        let gaps = gaps.iter().map(String::as_str).chain(std::iter::once(""));
        self.kept.iter().map(String::as_str).zip(gaps).flat_map(|(kept, gap)| [kept, gap]).collect()
    }
}

pub(super) fn wrong(message: impl ToString) -> Error {
    Error::Prompt { message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn kept(text: &FillText) -> Vec<&str> {
        text.kept.iter().map(String::as_str).collect()
    }

    #[test]
    fn masks_and_spans_make_gaps() {
        let text = FillText::masked("a ____ b____", "____").unwrap();
        assert_eq!((kept(&text), text.gaps.len()), (vec!["a ", " b", ""], 2));
        assert_eq!(text.filled(&["x".to_string(), "y".to_string()]), "a x by");
        let text = FillText::spans("größer als", &[8..9, 0..2]).unwrap();
        assert_eq!(kept(&text), ["", "ößer", "als"]);
        assert_eq!(text.gaps, [Some("gr".to_string()), Some(" ".to_string())]);
        assert_eq!(FillText::between("a", "b").filled(&["-".to_string()]), "a-b");
    }

    #[test]
    fn mistakes_are_told() {
        let told = |text: Result<FillText>| text.unwrap_err().to_string();
        assert!(told(FillText::masked("none", "____")).contains("does not stand in the text"));
        assert!(
            told(FillText::spans("größer", from_ref(&(3..5))))
                .contains("does not lie between letters of the text, which has 8")
        );
        assert!(told(FillText::spans("größer", from_ref(&(0..9)))).contains("between letters"));
        assert!(told(FillText::spans("abcdef", &[0..3, 2..4])).contains("2..4 overlaps"));
        assert!(told(FillText::spans("abcdef", from_ref(&(3..3)))).contains("holds nothing"));
    }
}
