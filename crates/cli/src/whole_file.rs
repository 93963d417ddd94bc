//! Files that are there whole or not at all.

use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file under a temporary name beside its own, then renames it.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = std::fs::write(temporary, text).and_then(|()| std::fs::rename(temporary, path));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(temporary);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.svg");
        write(&path, "old").and_then(|()| write(&path, "new")).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "new");
        assert!(write(folder.path(), "a folder is no file").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }
}
