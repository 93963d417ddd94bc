//! The files of the repository, as the checks see them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// All files that belong to the repository.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files, in the order of their paths.
    pub files: Vec<File>,
    /// Whether git was asked which files belong. Without it every file under the root does, build folders apart.
    pub from_git: bool,
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// The path from the root, with `/` between its parts.
    pub path: String,
    /// The text; `None` for a file that is not UTF-8.
    pub text: Option<String>,
}

impl Tree {
    /// Reads the files that git tracks or would track. Where git cannot be asked, reads the folder.
    pub fn read(root: &Path) -> Result<Self> {
        let listed = tracked(root);
        let from_git = listed.is_some();
        let mut paths = match listed {
            Some(paths) => paths,
            None => walk(root, "")?,
        };
        paths.sort();
        paths.dedup();
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            let full = root.join(&path);
            // A file that is deleted but not yet committed as deleted is listed and no longer there.
            if full.is_file() {
                let bytes = fs::read(&full).with_context(|| format!("cannot read {}", full.display()))?;
                files.push(File { path, text: String::from_utf8(bytes).ok() });
            }
        }
        Ok(Self { files, from_git })
    }

    /// The file at `path`.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file or a folder of the repository.
    pub fn holds(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files
            .iter()
            .any(|file| file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// The text files whose name ends in one of `extensions`.
    pub fn texts<'a>(&'a self, extensions: &'a [&'a str]) -> impl Iterator<Item = (&'a File, &'a str)> {
        self.files
            .iter()
            .filter(|file| file.path.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension)))
            .filter_map(|file| Some((file, file.text.as_deref()?)))
    }

    /// A tree of given paths and texts.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: path.to_string(), text: Some(text.to_string()) };
        Self { files: files.iter().map(file).collect(), from_git: true }
    }
}

impl File {
    /// Whether the whole file is test code: it lies under `tests/`, or is a module `tests` in a file of its own.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// The part of a Rust source before its trailing `#[cfg(test)] mod tests { ... }`.
pub fn without_tests(text: &str) -> &str {
    let mut start = None;
    let mut attribute = None;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        if content == "#[cfg(test)]" {
            attribute = Some(offset);
        } else if content == "mod tests {" {
            start = attribute.take();
        } else if !content.starts_with("#[") {
            attribute = None;
        }
        offset += line.len();
    }
    match start {
        // That nothing follows the block is clippy's business (`items_after_test_module`).
        Some(start) if text.trim_end().ends_with("\n}") => &text[..start],
        _ => text,
    }
}

/// What git tracks, and what it would track once added; `None` where there is no git or no repository.
fn tracked(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| listing.split_terminator('\0').map(str::to_string).collect())
}

/// Every file under `folder`, build folders and git's own apart.
fn walk(root: &Path, folder: &str) -> Result<Vec<String>> {
    let full = root.join(folder);
    let mut paths = Vec::new();
    for entry in fs::read_dir(&full).with_context(|| format!("cannot list {}", full.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if !entry.file_type()?.is_dir() {
            paths.push(path);
        } else if !matches!(name.as_str(), ".git" | "target" | "runs") {
            paths.extend(walk(root, &path)?);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailing_tests_are_cut_off() {
        let code = "fn a() {}\n\n";
        let tests = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn b() {}\n}\n";
        assert_eq!(without_tests(&format!("{code}{tests}")), code);
        let attributed = tests.replace("mod tests", "#[rustfmt::skip]\nmod tests");
        assert_eq!(without_tests(&format!("{code}{attributed}")), code);
        assert_eq!(without_tests(code), code);
    }

    #[test]
    fn other_test_items_stay() {
        for text in ["#[cfg(test)]\nfn helper() {}\n", "mod tests {\n}\n", "#[cfg(test)]\nmod tests;\n", ""] {
            assert_eq!(without_tests(text), text);
        }
    }

    #[test]
    fn folders_are_held_by_their_files() {
        let tree = Tree::of(&[("crates/a/src/lib.rs", "")]);
        assert!(tree.holds("crates/a") && tree.holds("crates/a/") && tree.holds("crates/a/src/lib.rs"));
        assert!(!tree.holds("crates/b") && !tree.holds("crates/a/src/lib"));
        assert!(tree.find("crates/a/src/lib.rs").is_some() && tree.find("crates/a").is_none());
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        let is_test = |path: &str| Tree::of(&[(path, "")]).files[0].is_test();
        assert!(is_test("crates/a/tests/run.rs") && is_test("crates/a/src/judge/tests.rs"));
        assert!(!is_test("crates/a/src/latest.rs") && !is_test("crates/a/src/attests/b.rs"));
    }

    #[test]
    fn a_folder_without_git_is_walked() {
        let root = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        fs::create_dir_all(root.join("a/target")).expect("a folder");
        fs::write(root.join("a/b.rs"), "fn b() {}\n").expect("a file");
        fs::write(root.join("a/target/c.rs"), "").expect("a file");
        fs::write(root.join("picture"), [0xff, 0xfe]).expect("a file");
        let tree = Tree::read(&root);
        fs::remove_dir_all(&root).expect("it is there");
        let tree = tree.expect("it can be read");
        assert!(!tree.from_git);
        let paths: Vec<_> = tree.files.iter().map(|file| (file.path.as_str(), file.text.is_some())).collect();
        assert_eq!(paths, [("a/b.rs", true), ("picture", false)]);
    }
}
