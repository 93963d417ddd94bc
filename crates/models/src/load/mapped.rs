//! Files that are mapped into memory, read only: pages come when they are read, and go when they are released.
//!
//! The only unsafe code outside of the kernels. The operating system lets any process shorten or overwrite a file that is mapped;
//! then a read of it ends the process, or sees other weights. This program never writes into a model file: it writes a new one
//! and renames it.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::{Advice, UncheckedAdvice};

/// A whole file.
#[derive(Debug)]
pub(crate) struct MappedFile(Mmap);

/// Linux maps the pages around one that is read, up to so many bytes: those before a range come back when its first page is read.
#[cfg(unix)]
const NEIGHBOURS: usize = 1 << 16;

impl MappedFile {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the map is read only, and nothing in this program writes into a model file; see above for what others may do.
        Ok(Self(unsafe { Mmap::map(&file)? }))
    }

    /// Says that these bytes, and a few before them, will not be read again soon: their memory goes to who needs it.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if !range.is_empty() {
            let start = range.start.saturating_sub(NEIGHBOURS);
            // SAFETY: the map is shared and read only, so that a released page that is read again holds the file's bytes as before.
            // That advice is not taken changes nothing but the memory in use.
            let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, start, range.end - start) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Says that these bytes will be read soon, so that the system may begin to read the disk.
    pub(super) fn will_need(&self, range: Range<usize>) {
        #[cfg(unix)]
        if !range.is_empty() {
            // Advice that is not taken costs time, nothing else.
            let _ = self.0.advise_range(Advice::WillNeed, range.start, range.len());
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
