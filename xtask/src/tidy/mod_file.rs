//! `mod.rs` is a table of contents: documentation, `mod`, `pub use` and attributes, nothing else.

use super::finding::Finding;
use super::tree::{Tree, without_tests};

const ADVICE: &str =
    "a mod.rs holds only documentation, `mod`, `pub use` and attributes: move this to a file of its own";

/// Every `mod.rs` that holds more than its contents.
pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.texts(&["rs"])
        .filter(|(file, _)| file.path.rsplit('/').next() == Some("mod.rs"))
        .filter_map(|(file, text)| Some(Finding::new(&file.path, first_logic(text)?, ADVICE)))
        .collect()
}

/// The line on which the first item begins that is not allowed.
fn first_logic(text: &str) -> Option<usize> {
    // The item that is being read, and the line on which it began.
    let mut item = String::new();
    let mut start = 0;
    for (index, line) in without_tests(text).lines().enumerate() {
        let line = line.split("//").next().unwrap_or(line).trim();
        if line.is_empty() {
            continue;
        }
        if item.is_empty() {
            start = index + 1;
        }
        item.push_str(line);
        item.push(' ');
        item = match after_attributes(&item) {
            // The end of the attribute is still to come.
            None => continue,
            Some(rest) => rest.to_string(),
        };
        if item.is_empty() || (is_contents(&item) && item.trim_end().ends_with(';')) {
            item.clear();
        } else if !is_contents(&item) || item.starts_with("mod") {
            return Some(start);
        }
    }
    (!item.is_empty()).then_some(start)
}

/// What follows the attributes at the start of `item`; `None` while one of them is open.
fn after_attributes(item: &str) -> Option<&str> {
    let mut rest = item.trim_start();
    while rest.starts_with("#[") || rest.starts_with("#![") {
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            depth += match c {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            *c == ']' && depth == 0
        });
        rest = rest[end?.0 + 1..].trim_start();
    }
    Some(rest)
}

/// Whether `item` begins as a module declaration or a public re-export does.
fn is_contents(item: &str) -> bool {
    let (public, item) = match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => (true, rest.split_once(')').map_or("", |(_, rest)| rest)),
        Some(rest) => (true, rest),
        None => (false, item),
    };
    let item = item.trim_start();
    let declares = item.strip_prefix("mod ").is_some_and(|name| !name.contains('{'));
    declares || (public && item.starts_with("use "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_pass() {
        let text = "//! Samplers.\n\n#![allow(missing_docs)]\n// One file each.\nmod a;\npub mod b; // b\npub(crate) mod c;\n\
                    #[cfg(test)]\nmod tests;\n#[cfg(test)] mod more;\n#[cfg(all(\n    unix,\n    test\n))]\nmod d;\n\n\
                    pub use a::{A, B};\npub(super) use c::{\n    C,\n    D,\n};\n\
                    #[cfg(test)]\nmod tests {\n    fn logic() {}\n}\n";
        assert_eq!(first_logic(text), None);
        assert_eq!(first_logic(""), None);
    }

    #[test]
    fn everything_else_is_found_where_it_begins() {
        let logic = |text: &str| first_logic(&format!("//! Docs.\nmod a;\n{text}"));
        assert_eq!(logic("fn f() {}\n"), Some(3));
        assert_eq!(logic("\npub struct S;\n"), Some(4));
        assert_eq!(logic("use std::fmt;\n"), Some(3));
        assert_eq!(logic("mod b {\n}\n"), Some(3));
        assert_eq!(logic("pub mod b { fn f() {} }\n"), Some(3));
        assert_eq!(logic("pub use a::{\n    A,\n};\nconst X: u8 = 1;\n"), Some(6));
        assert_eq!(logic("#[derive(Debug)]\npub enum E {}\n"), Some(4));
        assert_eq!(logic("macro_rules! m { () => {} }\n"), Some(3));
        assert_eq!(logic("pub use a::A\n"), Some(3));
    }

    #[test]
    fn only_mod_files_are_looked_at() {
        let tree =
            Tree::of(&[("a/mod.rs", "fn f() {}\n"), ("a/commod.rs", "fn f() {}\n"), ("a/lib.rs", "fn f() {}\n")]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "a/mod.rs");
    }
}
