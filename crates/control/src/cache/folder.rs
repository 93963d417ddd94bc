//! A folder of compiled constraints. Files appear under their names when they are whole; of too many bytes the oldest go.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, io, process};

use super::file::{read, write};
use super::{Built, Key};

const EXTENSION: &str = "automaton";
/// What is being written, or was when its writer was stopped.
const UNFINISHED: &str = "unfinished";
/// After this time nobody writes a file any more.
const STALE: Duration = Duration::from_secs(600);

/// Numbers the files that this process writes.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    most_bytes: u64,
}

impl Folder {
    pub(super) fn new(path: PathBuf, most_bytes: u64) -> Self {
        Self { path, most_bytes }
    }

    /// What is kept under a key, if its file is whole. It counts as new again.
    pub(super) fn get(&self, key: Key) -> Option<Built> {
        let path = self.file(key);
        let bytes = fs::read(&path).ok()?;
        let built = read(key, &bytes)?;
        // Where the time cannot be set the file only grows old.
        let _ = fs::File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(built)
    }

    pub(super) fn put(&self, key: Key, built: &Built) -> io::Result<()> {
        let bytes = write(key, built);
        if bytes.len() as u64 > self.most_bytes {
            return Ok(());
        }
        fs::create_dir_all(&self.path)?;
        let turn = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.path.join(format!("{}-{turn}.{UNFINISHED}", process::id()));
        let done = fs::write(&unfinished, &bytes).and_then(|()| fs::rename(&unfinished, self.file(key)));
        if done.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&unfinished);
        }
        done?;
        self.trim()
    }

    fn file(&self, key: Key) -> PathBuf {
        let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.path.join(name).with_extension(EXTENSION)
    }

    /// Removes the oldest files until the rest is small enough, and what was left unfinished.
    fn trim(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // Others may remove files at the same time.
            let Ok(about) = entry.metadata() else { continue };
            let (path, changed) = (entry.path(), about.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            if has_extension(&path, EXTENSION) {
                files.push((changed, path, about.len()));
            } else if has_extension(&path, UNFINISHED) && changed.elapsed().is_ok_and(|age| age > STALE) {
                remove(&path)?;
            }
        }
        let mut bytes: u64 = files.iter().map(|(_, _, size)| size).sum();
        files.sort();
        for (_, path, size) in files {
            if bytes <= self.most_bytes {
                break;
            }
            remove(&path)?;
            bytes -= size;
        }
        Ok(())
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

/// Removes a file that may be gone.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{built, key};
    use super::super::{Cache, Origin};
    use super::*;

    fn origin(cache: &Cache, name: &str) -> Origin {
        let (found, origin) = cache.get_or_build(key(name), || Ok(built(name))).unwrap();
        assert_eq!(*found.automaton, *built(name).automaton);
        origin
    }

    fn names(path: &Path) -> usize {
        fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn another_process_finds_what_was_built() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new").join("folder");
        let cache = || Cache::in_memory(1 << 20).with_folder(&path, 1 << 20);
        let first = cache();
        assert_eq!([origin(&first, "a+"), origin(&first, "a+")], [Origin::Compiled, Origin::Memory]);
        let second = cache();
        assert_eq!([origin(&second, "a+"), origin(&second, "a+")], [Origin::File, Origin::Memory]);
        assert_eq!((names(&path), second.problem()), (1, None));
        // Damage is mended.
        let file = Folder::new(path.clone(), 0).file(key("a+"));
        fs::write(&file, b"lldmauto").unwrap();
        assert_eq!([origin(&cache(), "a+"), origin(&cache(), "a+")], [Origin::Compiled, Origin::File]);
    }

    #[test]
    fn the_oldest_files_go() {
        let place = tempfile::tempdir().unwrap();
        let most = 5 * write(key("a+"), &built("a+")).len() as u64 / 2;
        let cache = || Cache::in_memory(0).with_folder(place.path(), most);
        fs::write(place.path().join("other.txt"), "not ours").unwrap();
        let age = |name: &str, seconds: u64| {
            let path = place.path().join(name);
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        let file = |name: &str| Folder::new(PathBuf::new(), 0).file(key(name)).to_str().unwrap().to_string();
        origin(&cache(), "a+");
        origin(&cache(), "b+");
        age(&file("a+"), 30);
        age(&file("b+"), 20);
        // Use makes it young again.
        assert_eq!(origin(&cache(), "a+"), Origin::File);
        fs::write(place.path().join("1-1.unfinished"), "half").unwrap();
        fs::write(place.path().join("1-2.unfinished"), "half").unwrap();
        age("1-1.unfinished", 10_000);
        origin(&cache(), "1+");
        assert_eq!([origin(&cache(), "a+"), origin(&cache(), "1+")], [Origin::File, Origin::File]);
        assert_eq!(names(place.path()), 4, "two automata, what is not ours, what is being written");
        assert_eq!(origin(&cache(), "b+"), Origin::Compiled);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told_and_no_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "no folder").unwrap();
        let cache = Cache::default().with_folder(&path, 1 << 20);
        assert_eq!(origin(&cache, "a+"), Origin::Compiled);
        assert!(cache.problem().is_some());
    }
}
