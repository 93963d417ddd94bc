//! Buffers that outlive a step of training.
//!
//! A step needs the same few hundred megabytes each time. Fresh from the system their pages would be mapped and cleared one by
//! one, which costs more than the passes over them; so they are kept, by size, and handed out again.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The idle buffers by their size.
static IDLE: Mutex<BTreeMap<usize, Vec<Vec<f32>>>> = Mutex::new(BTreeMap::new());

/// Some f32 values; when it goes, its memory is kept for the next one.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    len: usize,
}

/// Gives the memory of all idle buffers back to the system.
pub fn release_buffers() {
    idle().clear();
}

impl Buffer {
    /// A buffer of `len` values, whatever they are.
    pub fn new(len: usize) -> Self {
        let size = size_class(len);
        let values = idle().get_mut(&size).and_then(Vec::pop);
        Self { values: values.unwrap_or_else(|| vec![0.0; size]), len }
    }

    /// A buffer of `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let mut buffer = Self::new(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        idle().entry(values.len()).or_default().push(values);
    }
}

fn idle() -> MutexGuard<'static, BTreeMap<usize, Vec<Vec<f32>>>> {
    // Nothing that holds the lock can leave the map half changed.
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The length with four significant bits, so that rows whose number changes from step to step share few sizes.
fn size_class(len: usize) -> usize {
    let step = (len.next_power_of_two() / 16).max(256);
    len.div_ceil(step).max(1) * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_few_and_hold_their_lengths() {
        let mut sizes: Vec<usize> = (0..100_000).map(size_class).collect();
        assert!(sizes.iter().enumerate().all(|(len, size)| *size >= len && *size <= len + len / 8 + 256));
        sizes.dedup();
        assert!(sizes.len() < 80, "{}", sizes.len());
    }

    #[test]
    fn memory_comes_back() {
        // A size that no other test asks for.
        let mut first = Buffer::new(77_777);
        first[77_776] = 5.0;
        let place = first.as_ptr();
        drop(first);
        let again = Buffer::new(77_770);
        assert_eq!((again.as_ptr(), again.len()), (place, 77_770));
        let zeros = Buffer::zeros(77_777);
        assert!(zeros.as_ptr() != place && zeros.iter().all(|value| *value == 0.0));
    }
}
