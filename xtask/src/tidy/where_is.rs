//! ARCHITECTURE.md holds a table "Where is ...?"; every path in it exists.

use super::finding::Finding;
use super::tree::Tree;

const PAGE: &str = "ARCHITECTURE.md";
/// Words in code type with one of these endings are paths even without a folder.
const ENDINGS: &[&str] = &[".rs", ".md", ".toml", ".json", ".js", ".css", ".html", ".safetensors"];

/// Every path of the table that is not in the repository; a missing page or table as well.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.find(PAGE).and_then(|file| file.text.as_deref()) else {
        return vec![Finding::new(PAGE, 1, "is missing: write it, with a table \"Where is ...?\"")];
    };
    let rows = table(text);
    if rows.is_empty() {
        let message = "has no table under a heading or in columns named \"Where is ...?\": add one";
        return vec![Finding::new(PAGE, 1, message)];
    }
    let mut findings = Vec::new();
    for (line, row) in rows {
        // Every second piece stands between backticks.
        for path in row.split('`').skip(1).step_by(2).filter(|word| is_path(word) && !tree.holds(word)) {
            let message = format!("`{path}` does not exist: name the place where it is now, one path at a time");
            findings.push(Finding::new(PAGE, line, message));
        }
    }
    findings
}

/// The rows of the table, each with its line: all rows under a heading "Where is", or of a table headed so.
fn table(text: &str) -> Vec<(usize, &str)> {
    let mut rows = Vec::new();
    let (mut in_section, mut in_table, mut previous_is_row) = (false, false, false);
    for (index, line) in text.lines().enumerate() {
        let is_row = line.trim_start().starts_with('|');
        let names_it = line.to_lowercase().contains("where is");
        if line.starts_with('#') {
            in_section = names_it;
        }
        if is_row && !previous_is_row {
            in_table = names_it;
        }
        if is_row && (in_section || in_table) {
            rows.push((index + 1, line));
        }
        previous_is_row = is_row;
    }
    rows
}

/// Whether a word in code type is a path of the repository rather than code, a command or a URL.
fn is_path(word: &str) -> bool {
    let code = |c: char| c.is_whitespace() || "<>()&;:$".contains(c);
    let relative = !word.is_empty() && !word.starts_with(['/', '-', '~']) && !word.contains(code);
    relative && (word.contains('/') || ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str) -> Vec<String> {
        let tree = Tree::of(&[(PAGE, page), ("crates/a/src/lib.rs", ""), ("README.md", "")]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn existing_paths_and_code_pass() {
        let page = "# House\n`no/such/path`\n\n## Where is ...?\n\n| what | where |\n|---|---|\n\
                    | it | `crates/a/src/lib.rs`, `crates/a/`, `README.md` |\n\
                    | code | `Sampler`, `a::b`, `cargo run -p a/b`, `/v1/models`, `https://example.org/a` |\n\n\
                    ## Floors\n| `no/such/path` |\n";
        assert_eq!(found(page), [""; 0]);
    }

    #[test]
    fn missing_paths_are_found_at_their_line() {
        let advice = "does not exist: name the place where it is now, one path at a time";
        let page =
            "# House\n\n| Where is ...? | path |\n|---|---|\n| it | `crates/b` and `x.rs` |\n| a | `crates/*.rs` |\n";
        assert_eq!(
            found(page),
            [
                format!("{PAGE}:5: `crates/b` {advice}"),
                format!("{PAGE}:5: `x.rs` {advice}"),
                format!("{PAGE}:6: `crates/*.rs` {advice}"),
            ]
        );
    }

    #[test]
    fn the_page_and_the_table_must_be_there() {
        assert!(check(&Tree::of(&[]))[0].message.starts_with("is missing"));
        assert!(found("# House\n\nWhere is it?\n\n| a | `b/c` |\n")[0].contains("has no table"));
    }
}
