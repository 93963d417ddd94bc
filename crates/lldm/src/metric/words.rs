//! Words of a text, as the text metrics count them.

/// Splits a text into words: runs of letters and digits, held together by a single apostrophe, hyphen, point or comma inside
/// (`don't`, `well-known`, `10.50`, `1,000`). Every other character that is not white space is a word of its own. Case is
/// kept.
///
/// It stands in for the NLTK tokenizer of Texygen, which no Rust crate has; scores under the two differ a little, so compare
/// only scores of one kind.
///
/// ```
/// assert_eq!(lldm::metric::words("Don't, he said."), ["Don't", ",", "he", "said", "."]);
/// ```
pub fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(first_word(rest));
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// Length in bytes of the word that the text begins with. The text begins with a character that is not white space.
fn first_word(text: &str) -> usize {
    let mut end = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|&(_, next)| next);
        let joins = matches!(character, '\'' | '\u{2019}' | '-' | '.' | ',') && next.is_some_and(char::is_alphanumeric);
        if character.is_alphanumeric() || (at > 0 && joins && fits(character, &text[..at], next)) {
            end = at + character.len_utf8();
        } else if at == 0 {
            return character.len_utf8();
        } else {
            break;
        }
    }
    end
}

/// Points and commas join digits only: `end.Start` is two sentences, not a word.
fn fits(joiner: char, before: &str, next: Option<char>) -> bool {
    let digits = || before.ends_with(|c: char| c.is_numeric()) && next.is_some_and(char::is_numeric);
    !matches!(joiner, '.' | ',') || digits()
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_and_marks_are_told_apart() {
        assert_eq!(words("It's a well-known pub."), ["It's", "a", "well-known", "pub", "."]);
        assert_eq!(words("  £10.50, or 1,000?!"), ["£", "10.50", ",", "or", "1,000", "?", "!"]);
        assert_eq!(words("end.Start"), ["end", ".", "Start"]);
        assert_eq!(
            words("'quoted' dogs' --x- a--b"),
            ["'", "quoted", "'", "dogs", "'", "-", "-", "x", "-", "a", "-", "-", "b"]
        );
        assert_eq!(words("Café é"), ["Café", "é"]);
        assert!(words(" \n\t").is_empty());
    }
}
