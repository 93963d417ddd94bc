//! A file is named for its idea: names under which anything could be put away are forbidden.

use std::collections::BTreeSet;

use super::finding::Finding;
use super::tree::Tree;

const FORBIDDEN: &[&str] = &["utils", "common", "helpers", "misc"];

/// Files, folders and modules with a forbidden name.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for file in &tree.files {
        let mut end = 0;
        for part in file.path.split('/') {
            end += part.len();
            let stem = part.split('.').next().unwrap_or(part);
            if FORBIDDEN.contains(&stem) && seen.insert(&file.path[..end]) {
                findings.push(Finding::new(&file.path, 1, message(stem)));
            }
            end += 1;
        }
    }
    for (file, text) in tree.texts(&["rs"]) {
        for (index, line) in text.lines().enumerate() {
            if let Some(name) = module(line).filter(|name| FORBIDDEN.contains(name)) {
                findings.push(Finding::new(&file.path, index + 1, message(name)));
            }
        }
    }
    findings
}

fn message(name: &str) -> String {
    format!("the name `{name}` says nothing: name it for what it holds, or move each piece to where it is used")
}

/// The name of the module that the line declares.
fn module(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let item = match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1,
        Some(rest) => rest,
        None => item,
    };
    let name = item.trim_start().strip_prefix("mod ")?.trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }

    #[test]
    fn files_and_folders_are_seen_once() {
        let files = [("a/utils.rs", ""), ("b/common/c.rs", ""), ("b/common/d.rs", ""), ("e/misc.test.js", "")];
        assert_eq!(places(&files), ["a/utils.rs:1", "b/common/c.rs:1", "e/misc.test.js:1"]);
    }

    #[test]
    fn modules_are_seen_inline_and_declared() {
        let text =
            "mod a;\nmod utils;\npub mod helpers {}\npub(crate) mod  misc;\n    mod common {\nmod common_noise;\n";
        assert_eq!(places(&[("a.rs", text)]), ["a.rs:2", "a.rs:3", "a.rs:4", "a.rs:5"]);
    }

    #[test]
    fn good_names_and_prose_pass() {
        let text = "// mod utils is forbidden\nlet common = helpers(misc);\n";
        assert!(places(&[("a/commons.rs", text), ("a/miscellany.md", "mod utils;")]).is_empty());
    }
}
