//! Patterns of JSON Schema, which are ECMA 262's, in the syntax of the crate `regex`.

/// The same pattern, found anywhere in a value. Classes of letters are ASCII's there, of which `\w` and `\d` are told apart from
/// Unicode's; what the crate cannot do (looking around, counting back) it refuses by itself.
pub(super) fn anywhere(pattern: &str) -> String {
    format!("(?s:.*)(?:{})(?s:.*)", translated(pattern))
}

fn translated(pattern: &str) -> String {
    let mut out = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[A-Za-z0-9_]"),
            Some('W') => out.push_str("[^A-Za-z0-9_]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some('B') => out.push_str(r"(?-u:\B)"),
            Some('/') => out.push('/'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}
