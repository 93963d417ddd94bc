//! Literal text within regular expressions.

use super::keywords::Case;

/// The expression of this text.
pub(super) fn literal(text: &str, case: Case) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        // Everything that means something in an expression is ASCII and no letter, digit or space.
        if letter.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(letter);
    }
    match case {
        Case::Exact => format!("(?:{out})"),
        Case::Any => format!("(?i:{out})"),
    }
}
