//! Breaking text with looks into lines of a width, as a terminal counts it.

use unicode_width::UnicodeWidthChar;

/// A piece of text with one look.
pub(crate) type Span<L> = (L, String);

/// The lines, each of at most `width` columns; they break at spaces where there are any.
pub(crate) fn wrap<L: Copy + PartialEq>(spans: &[Span<L>], width: usize) -> Vec<Vec<Span<L>>> {
    let mut lines = Vec::new();
    let mut line: Vec<(L, char)> = Vec::new();
    let mut columns = 0;
    // Where the last word of the line begins.
    let mut word = None;
    for (look, text) in spans {
        for c in text.chars() {
            if c == '\n' {
                lines.push(joined(&line));
                (columns, word) = (0, None);
                line.clear();
                continue;
            }
            let wide = c.width().unwrap_or(0);
            if columns + wide > width.max(1) && !line.is_empty() {
                if c == ' ' {
                    lines.push(joined(&line));
                    (columns, word) = (0, None);
                    line.clear();
                    continue;
                }
                let rest = word.map_or_else(Vec::new, |at| line.split_off(at));
                lines.push(joined(&line));
                line = rest;
                columns = line.iter().map(|(_, c)| c.width().unwrap_or(0)).sum();
                word = None;
            }
            line.push((*look, c));
            columns += wide;
            if c == ' ' {
                word = Some(line.len());
            }
        }
    }
    if !line.is_empty() {
        lines.push(joined(&line));
    }
    lines
}

/// The columns that a text takes.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The text with control characters, which could move the cursor, made visible.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

fn joined<L: Copy + PartialEq>(line: &[(L, char)]) -> Vec<Span<L>> {
    let end = line.iter().rposition(|(_, c)| *c != ' ').map_or(0, |at| at + 1);
    let mut spans: Vec<Span<L>> = Vec::new();
    for (look, c) in &line[..end] {
        match spans.last_mut() {
            Some((last, text)) if last == look => text.push(*c),
            _ => spans.push((*look, c.to_string())),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, width: usize) -> Vec<String> {
        let wrapped = wrap(&[((), text.to_string())], width);
        wrapped.into_iter().map(|line| line.into_iter().map(|(_, text)| text).collect()).collect()
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("one two", 7), ["one two"]);
        assert_eq!(lines("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(lines("a bcdefgh", 4), ["a", "bcde", "fgh"]);
        assert_eq!(lines("a\n\nb", 4), ["a", "", "b"]);
        assert_eq!(lines("", 4), [""; 0]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(columns("a星"), 3);
        assert_eq!(lines("星星星", 4), ["星星", "星"]);
    }

    #[test]
    fn looks_survive_the_break() {
        let spans = [('a', "one tw".to_string()), ('b', "o three".to_string())];
        let wrapped = wrap(&spans, 7);
        assert_eq!(wrapped[0], [('a', "one tw".to_string()), ('b', "o".to_string())]);
        assert_eq!(wrapped[1], [('b', "three".to_string())]);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(harmless("a\x1b[2Jb\n\r"), "a\u{fffd}[2Jb\n\u{fffd}");
    }
}
