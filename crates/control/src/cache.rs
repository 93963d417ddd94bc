//! Compiled constraints that are kept: in memory, and where the caller names a folder, in files.
//!
//! What is kept belongs to a constraint and a tokenizer: it is found by a digest of what the constraints say, of the bytes of all tokens,
//! and of this crate's sources, since other sources may compile otherwise. A file that is damaged, or of another version, is as good as none. Errors are not kept.

mod file;
mod folder;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use self::folder::Folder;
use crate::automaton::{ByteDfa, TokenAutomaton};
use crate::error::Result;

/// Of the form of the files.
const VERSION: u32 = 1;

/// What constraints come to for a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The language.
    pub text: ByteDfa,
    /// The same over tokens, behind its joint.
    pub automaton: Arc<TokenAutomaton>,
    /// The depth of nesting at which the language was cut, if it was.
    pub depth: Option<u32>,
    /// States of the automaton over bytes, behind its joint.
    pub byte_states: usize,
    /// The time that the automaton over bytes took.
    pub bytes: Duration,
    /// The time to lift it to tokens.
    pub lift: Duration,
}

/// Where a compiled constraint came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled.
    Compiled,
    /// It was in memory.
    Memory,
    /// It was in a file.
    File,
}

/// Compiled constraints, those used last.
#[derive(Debug)]
pub struct Cache {
    memory: Mutex<Memory>,
    folder: Option<Folder>,
    problem: Mutex<Option<String>>,
}

/// What something is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 32]);

#[derive(Debug)]
struct Memory {
    most_bytes: usize,
    bytes: usize,
    /// With the turn of the last use.
    kept: HashMap<Key, (Arc<Built>, u64)>,
    turn: u64,
}

impl Built {
    /// The bytes that it takes in memory.
    pub fn size_bytes(&self) -> usize {
        self.text.size_bytes() + self.automaton.size_bytes()
    }
}

impl Key {
    /// From all that matters, part by part.
    pub(crate) fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        digest.update(VERSION.to_le_bytes());
        for part in [env!("LLDM_CONTROL_SOURCES").as_bytes()].into_iter().chain(parts) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl Cache {
    /// Bytes in memory where nothing else is asked for.
    pub const MEMORY_BYTES: usize = 64 << 20;
    /// Bytes of files where nothing else is asked for.
    pub const FILE_BYTES: u64 = 256 << 20;

    /// One that keeps at most so many bytes in memory.
    pub fn in_memory(most_bytes: usize) -> Self {
        let memory = Memory { most_bytes, bytes: 0, kept: HashMap::new(), turn: 0 };
        Self { memory: Mutex::new(memory), folder: None, problem: Mutex::new(None) }
    }

    /// The same with files in a folder, which is made when something is written; of more than so many bytes the oldest files go.
    #[must_use]
    pub fn with_folder(self, path: impl Into<PathBuf>, most_bytes: u64) -> Self {
        Self { folder: Some(Folder::new(path.into(), most_bytes)), ..self }
    }

    /// Why a file could not be written, the last time that one could not.
    pub fn problem(&self) -> Option<String> {
        locked(&self.problem).clone()
    }

    /// What is kept under the key, or else what `build` makes, which is then kept.
    pub(crate) fn get_or_build(&self, key: Key, build: impl FnOnce() -> Result<Built>) -> Result<(Arc<Built>, Origin)> {
        if let Some(found) = locked(&self.memory).get(key) {
            return Ok((found, Origin::Memory));
        }
        if let Some(found) = self.folder.as_ref().and_then(|folder| folder.get(key)) {
            let found = Arc::new(found);
            locked(&self.memory).put(key, found.clone());
            return Ok((found, Origin::File));
        }
        let built = Arc::new(build()?);
        if let Some(Err(error)) = self.folder.as_ref().map(|folder| folder.put(key, &built)) {
            *locked(&self.problem) = Some(error.to_string());
        }
        locked(&self.memory).put(key, built.clone());
        Ok((built, Origin::Compiled))
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::in_memory(Self::MEMORY_BYTES)
    }
}

impl Memory {
    fn get(&mut self, key: Key) -> Option<Arc<Built>> {
        self.turn += 1;
        let (found, turn) = self.kept.get_mut(&key)?;
        *turn = self.turn;
        Some(found.clone())
    }

    fn put(&mut self, key: Key, built: Arc<Built>) {
        self.turn += 1;
        self.bytes += built.size_bytes();
        if let Some((before, _)) = self.kept.insert(key, (built, self.turn)) {
            self.bytes -= before.size_bytes();
        }
        while self.bytes > self.most_bytes {
            let oldest = self.kept.iter().min_by_key(|(_, (_, turn))| *turn).map(|(key, _)| *key);
            let Some((gone, _)) = oldest.and_then(|key| self.kept.remove(&key)) else { break };
            self.bytes -= gone.size_bytes();
        }
    }
}

/// What it guards; whoever panicked while holding it left it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::automaton::{Vocabulary, lift, regex};
    use crate::budget::Budget;
    use crate::error::Error;

    pub(super) fn built(pattern: &str) -> Built {
        let tokens: Vec<_> = ["a", "b", "ab", "é", "1", ""].map(|text| Some(text.as_bytes())).to_vec();
        let meter = Budget::default().meter();
        let text = regex(pattern, &meter).unwrap();
        let automaton = Arc::new(lift(&text, &Vocabulary::new(&tokens, &[5]), &meter).unwrap());
        let byte_states = text.states();
        Built { text, automaton, depth: Some(3), byte_states, bytes: Duration::from_micros(7), lift: Duration::ZERO }
    }

    pub(super) fn key(name: &str) -> Key {
        Key::new([name.as_bytes()])
    }

    fn origin(cache: &Cache, name: &str) -> Origin {
        let (found, origin) = cache.get_or_build(key(name), || Ok(built(name))).unwrap();
        assert_eq!(found.text, built(name).text);
        origin
    }

    #[test]
    fn what_was_used_last_stays_in_memory() {
        let cache = Cache::in_memory(2 * built("a+").size_bytes() + built("a+").size_bytes() / 2);
        let origins: Vec<_> = ["a+", "b+", "a+", "1+", "a+", "b+"].map(|name| origin(&cache, name)).to_vec();
        use Origin::{Compiled, Memory};
        // The third pushes out the second, which was not used since.
        assert_eq!(origins, [Compiled, Compiled, Memory, Compiled, Memory, Compiled]);
        let none = Cache::in_memory(10);
        assert_eq!([origin(&none, "a+"), origin(&none, "a+")], [Compiled, Compiled]);
    }

    #[test]
    fn errors_are_not_kept() {
        let cache = Cache::default();
        let failed = cache.get_or_build(key("a"), || Err(Error::States { limit: 1 }));
        assert_eq!(failed, Err(Error::States { limit: 1 }));
        assert_eq!(origin(&cache, "a"), Origin::Compiled);
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        let keys = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""]];
        let keys = keys.map(|parts| Key::new(parts.iter().map(|part| part.as_bytes())));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }
}
