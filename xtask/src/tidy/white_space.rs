//! No white space at the end of a line and no tabs, in Rust, Markdown and TOML.

use super::finding::Finding;
use super::tree::Tree;

/// Every line with either.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in tree.texts(&["rs", "md", "toml"]) {
        for (index, line) in text.split('\n').enumerate() {
            if line.ends_with(char::is_whitespace) {
                findings.push(Finding::new(&file.path, index + 1, "ends in white space: remove it"));
            }
            if line.trim_end().contains('\t') {
                findings.push(Finding::new(
                    &file.path,
                    index + 1,
                    "holds a tab: indent with spaces, write \\t in text",
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_space_tabs_and_carriage_returns_are_found() {
        let tree = Tree::of(&[("a.md", "good\nbad \n\tbad\n"), ("b.toml", "bad\r\n"), ("c.rs", "bad\t")]);
        let lines: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "a.md:2: ends in white space: remove it",
                "a.md:3: holds a tab: indent with spaces, write \\t in text",
                "b.toml:1: ends in white space: remove it",
                "c.rs:1: ends in white space: remove it",
            ]
        );
    }

    #[test]
    fn other_files_and_clean_lines_pass() {
        assert!(check(&Tree::of(&[("a.tsv", "a\tb \n"), ("a.rs", "\n    let a = 1;\n\n")])).is_empty());
    }
}
