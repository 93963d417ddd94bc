//! The repository stands alone: no file speaks of folders beside it that a reader does not have.

use super::finding::Finding;
use super::tree::Tree;

/// Written in two parts so that this file passes its own check.
const OUTSIDE: &[&str] = &[concat!("..", "/shared"), concat!("/wo", "rk/")];

/// Every line that names a folder outside of the repository.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.iter().flat_map(|text| text.lines()).enumerate() {
            for outside in OUTSIDE.iter().filter(|outside| line.contains(**outside)) {
                let message = format!("`{outside}` lies outside of the repository: say what is meant without it");
                findings.push(Finding::new(&file.path, index + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_paths_are_found_in_every_kind_of_file() {
        for outside in OUTSIDE {
            let text = format!("fine\nsee {outside}\n");
            let findings = check(&Tree::of(&[("run", &text), ("a.md", &text)]));
            assert_eq!(findings.len(), 2);
            assert_eq!((findings[0].path.as_str(), findings[0].line), ("run", 2));
        }
    }

    #[test]
    fn similar_words_pass() {
        assert!(check(&Tree::of(&[("a.md", "shared/ framework/x /workspace ../share\n")])).is_empty());
    }
}
