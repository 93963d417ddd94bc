//! Nothing is left for later in the code: no placeholder, no marker of unfinished work, no switched-off test.

use super::finding::Finding;
use super::tree::Tree;

/// What is forbidden, and what to do instead. Written in two parts so that this file passes its own check.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("todo", "!("), "write it, or leave the item out until it is needed"),
    (concat!("unimplemented", "!("), "return an error that says what is not supported"),
    (concat!("FIX", "ME"), "mend it now, or open an issue and drop the marker"),
    (concat!("XX", "X"), "mend it now, or open an issue and drop the marker"),
    (concat!("#[", "ignore"), "let the test run, or let it print why it has nothing to do"),
];

/// Every line of Rust with a forbidden marker.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.texts(&["rs"]) {
        for (index, line) in text.lines().enumerate() {
            for (marker, advice) in FORBIDDEN.iter().filter(|(marker, _)| line.contains(marker)) {
                findings.push(Finding::new(&file.path, index + 1, format!("`{marker}` is forbidden: {advice}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_marker_is_found() {
        for (marker, advice) in FORBIDDEN {
            let findings = check(&Tree::of(&[("a.rs", &format!("fn a() {{}}\n    {marker}\n"))]));
            assert_eq!(findings.len(), 1, "{marker}");
            assert_eq!(findings[0].to_string(), format!("a.rs:2: `{marker}` is forbidden: {advice}"));
        }
    }

    #[test]
    fn other_words_and_other_files_pass() {
        let marker = FORBIDDEN[0].0;
        assert!(check(&Tree::of(&[("a.rs", "// to do, ignore, fix me, xxx\n"), ("a.md", marker)])).is_empty());
    }
}
