//! Story books: which lines are headings, and where a long paragraph may be cut.

/// Whether the line is no running text: empty, marked as a heading (`#`), a chapter line, a note in brackets, all in
/// capitals, shorter than 40 characters without final punctuation, or written like a title.
pub fn is_heading(line: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') || (line.starts_with('[') && line.ends_with(']')) {
        return true;
    }
    let lower = line.chars().any(char::is_lowercase);
    let chapter = line.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("chapter ")) && line.len() < 100;
    let short = line.chars().count() < 40;
    !lower || chapter || (!ends_in_punctuation(line) && (short || is_title_case(line)))
}

/// Cuts a paragraph of more than `max_chars` characters at ends of sentences into pieces of about equal length. A
/// single sentence that is longer stays whole; together the pieces are the paragraph but for the spaces between them.
pub fn cut(paragraph: &str, max_chars: usize) -> Vec<&str> {
    let length = paragraph.chars().count();
    if length <= max_chars {
        return vec![paragraph];
    }
    let enough = length / length.div_ceil(max_chars);
    let (mut pieces, mut start, mut end, mut chars) = (Vec::new(), 0, 0, 0);
    for sentence_end in sentence_ends(paragraph) {
        let sentence = paragraph[end..sentence_end].chars().count();
        if chars > 0 && (chars >= enough || chars + sentence > max_chars) {
            pieces.push(paragraph[start..end].trim());
            (start, chars) = (end, 0);
        }
        chars += sentence;
        end = sentence_end;
    }
    pieces.push(paragraph[start..].trim());
    pieces
}

/// The byte positions after each sentence, the last one included.
fn sentence_ends(paragraph: &str) -> Vec<usize> {
    let mut ends = Vec::new();
    for (space, _) in paragraph.match_indices(' ') {
        let before = paragraph[..space].trim_end_matches(CLOSING);
        let continues = paragraph[space + 1..].chars().next().is_none_or(char::is_lowercase);
        if before.ends_with(['.', '!', '?']) && !continues && !is_abbreviation(before) {
            ends.push(space + 1);
        }
    }
    ends.push(paragraph.len());
    ends
}

const CLOSING: [char; 6] = ['\'', '"', ')', ']', '\u{2019}', '\u{201d}'];

/// Whether the text ends in `Mr.` and its like, or in an initial.
fn is_abbreviation(text: &str) -> bool {
    let Some(word) = text.strip_suffix('.').and_then(|text| text.rsplit([' ', '\'', '"', '(']).next()) else {
        return false;
    };
    matches!(word, "Mr" | "Mrs" | "Dr" | "St" | "Messrs" | "Capt" | "Col" | "No")
        || (word.len() == 1 && word != "I" && word.chars().all(char::is_uppercase))
}

fn ends_in_punctuation(line: &str) -> bool {
    let end = line.trim_end_matches(CLOSING).trim_end_matches(['_', '*']);
    end.ends_with(['.', '!', '?', ':', ';', ',', '-', '\u{2014}', '\u{2026}'])
}

/// Whether every word of four letters or more is capitalised, in a line of at most 100 bytes.
fn is_title_case(line: &str) -> bool {
    let mut long = line.split_whitespace().filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() >= 4);
    line.len() <= 100 && long.all(|word| word.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_go_and_speech_stays() {
        let headings = [
            "",
            "# The Golden Bird",
            "Lewis Carroll",
            "CHAPTER I. Down the Rabbit-Hole",
            "THE GOLDEN BIRD HANS IN LUCK JORINDA AND JORINDEL THE TRAVELLING MUSICIANS OLD SULTAN",
            "CHAPTER XXII. Anne is Invited Out to Tea",
            "How The Beggar Boy Turned Into Count Piro",
            "[From the Journal of the Anthropological Institute.]",
        ];
        for line in headings {
            assert!(is_heading(line), "{line}");
        }
        let running = [
            "'Jip!'",
            "\"Very soon.\"",
            "Suddenly Jellia Jamb exclaimed:",
            "So she set out to sea and never once looked back",
        ];
        for line in running {
            assert!(!is_heading(line), "{line}");
        }
    }

    #[test]
    fn a_long_paragraph_is_cut_at_sentences() {
        let paragraph =
            "One went out. 'Where to?' said Mr. Fox. \"Home!\" It was J. Smith! A fifth one came. Then all slept.";
        let pieces = cut(paragraph, 45);
        assert_eq!(pieces.join(" "), paragraph);
        assert!(pieces.len() >= 3 && pieces.iter().all(|piece| piece.chars().count() <= 45), "{pieces:?}");
        assert!(
            pieces.iter().all(|p| p.ends_with(['.', '!', '"']) && !p.ends_with("Mr.") && !p.ends_with("J.")),
            "{pieces:?}"
        );
        assert_eq!(cut(paragraph, 400), [paragraph]);
        assert_eq!(cut("no end in sight", 5), ["no end in sight"]);
    }
}
