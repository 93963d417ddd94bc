//! Bytes that begin at a cache line, so that no 64-byte load of theirs touches two; and bytes whose owner is somebody else.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

/// Bytes that somebody else owns, such as a mapped file.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Where a line begins.
pub(crate) const LINE: usize = 64;

/// A buffer of bytes, aligned to 64.
#[derive(Debug)]
pub(crate) struct AlignedBytes {
    /// Fresh zeros take no memory before they are written.
    bytes: Vec<u8>,
    range: Range<usize>,
}

/// Packed weights: in memory of their own, or where they lie in a file.
#[derive(Clone)]
pub(crate) enum Bytes {
    Own(Arc<AlignedBytes>),
    Shared(SharedBytes, Range<usize>),
}

impl AlignedBytes {
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + LINE - 1];
        let start = bytes.as_ptr().align_offset(LINE);
        Self { bytes, range: start..start + len }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.range.clone()]
    }
}

impl From<AlignedBytes> for Bytes {
    fn from(bytes: AlignedBytes) -> Self {
        Self::Own(Arc::new(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(owner, range) => &(**owner).as_ref()[range.clone()],
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if matches!(self, Self::Own(_)) { "own" } else { "shared" };
        write!(f, "{} bytes, {whose}", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_at_a_line() {
        for len in [0, 1, 63, 64, 1000, 1 << 20] {
            let mut bytes = AlignedBytes::zeroed(len);
            assert!(bytes.len() == len && bytes.as_ptr().addr().is_multiple_of(LINE));
            bytes.fill(7);
            let moved = Bytes::from(bytes);
            assert!(moved.iter().all(|byte| *byte == 7) && moved.clone().as_ptr() == moved.as_ptr());
        }
    }
}
