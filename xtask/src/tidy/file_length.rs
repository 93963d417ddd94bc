//! One idea, one file: a file of more than 600 lines of code fails, one of more than 300 is noted.

use super::finding::Finding;
use super::tree::{Tree, without_tests};

/// More lines of code than this fail.
const WALL: usize = 600;
/// More lines of code than this are noted.
const USUAL: usize = 300;

/// What is too long, and notes on what is getting long. Test code does not count.
pub fn check(tree: &Tree) -> (Vec<Finding>, Vec<String>) {
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    for (file, text) in tree.texts(&["rs"]).filter(|(file, _)| !file.is_test()) {
        let lines = without_tests(text).trim_end().lines().count();
        if lines > WALL {
            let message = format!("{lines} lines of code, the wall is {WALL}: split the file by its ideas");
            findings.push(Finding::new(&file.path, WALL + 1, message));
        } else if lines > USUAL {
            notes.push(format!("{}: {lines} lines of code, about {USUAL} is the habit of the house", file.path));
        }
    }
    (findings, notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(path: &str, text: &str) -> (usize, usize) {
        let (findings, notes) = check(&Tree::of(&[(path, text)]));
        (findings.len(), notes.len())
    }

    #[test]
    fn the_wall_and_the_habit() {
        assert_eq!(counts("src/a.rs", &"a\n".repeat(300)), (0, 0));
        assert_eq!(counts("src/a.rs", &"a\n".repeat(301)), (0, 1));
        assert_eq!(counts("src/a.rs", &"a\n".repeat(600)), (0, 1));
        assert_eq!(counts("src/a.rs", &"a\n".repeat(601)), (1, 0));
        let (findings, _) = check(&Tree::of(&[("src/a.rs", &"a\n".repeat(601))]));
        assert_eq!(
            findings[0].to_string(),
            "src/a.rs:601: 601 lines of code, the wall is 600: split the file by its ideas"
        );
    }

    #[test]
    fn tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    a\n".repeat(700));
        assert_eq!(counts("src/a.rs", &format!("{}{tests}", "a\n".repeat(300))), (0, 0));
        assert_eq!(counts("src/a.rs", &format!("{}{tests}", "a\n".repeat(601))), (1, 0));
        assert_eq!(counts("tests/a.rs", &"a\n".repeat(700)), (0, 0));
        assert_eq!(counts("src/a/tests.rs", &"a\n".repeat(700)), (0, 0));
        assert_eq!(counts("a.md", &"a\n".repeat(700)), (0, 0));
    }
}
