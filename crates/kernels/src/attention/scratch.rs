//! Buffers of a task, and outputs that tasks share.

use std::cell::Cell;

use crate::simd::LANES;

/// Runs `f` with buffers of these lengths and any content, each at the start of a cache line; they are kept per thread
/// from call to call.
pub(super) fn with_scratch<const N: usize, T>(lengths: [usize; N], f: impl FnOnce([&mut [f32]; N]) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    let len = lengths.iter().map(|len| len.next_multiple_of(LANES)).sum::<usize>() + LANES;
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    // A line is 16 values; should the address not be known, the first value serves as well.
    let start = buffer.as_ptr().align_offset(4 * LANES).min(LANES);
    let mut rest = &mut buffer[start..];
    let result = f(lengths.map(|len| {
        let (first, others) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LANES));
        rest = others;
        &mut first[..len]
    }));
    BUFFER.set(buffer);
    result
}

/// A slice of which each task reads and writes values of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    start: *mut f32,
    len: usize,
}

// SAFETY: only the unsafe methods touch the memory, and their callers promise that no two threads use the same values.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The slice must outlive all calls of the methods.
    pub(super) fn new(slice: &mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// Writes `row · factor` at `offset`; a negative zero becomes zero, so that sums of it show no trace of what was
    /// added as zero.
    ///
    /// # Safety
    /// The slice given to `new` must still be borrowed, and no other thread may use these values.
    pub(super) unsafe fn write(&self, offset: usize, row: &[f32], factor: f32) {
        assert!(offset + row.len() <= self.len);
        // SAFETY: in bounds by the assertion, ours alone by the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), row.len()) };
        for (to, from) in to.iter_mut().zip(row) {
            *to = *from * factor + 0.0;
        }
    }

    /// Reads the values at `offset`, times `factor`, into `row`.
    ///
    /// # Safety
    /// As for [`Self::write`].
    pub(super) unsafe fn read(&self, offset: usize, row: &mut [f32], factor: f32) {
        assert!(offset + row.len() <= self.len);
        // SAFETY: in bounds by the assertion, ours alone by the caller's promise.
        let from = unsafe { std::slice::from_raw_parts(self.start.add(offset), row.len()) };
        for (to, from) in row.iter_mut().zip(from) {
            *to = *from * factor;
        }
    }

    /// Sets `count` values at `offset` to zero.
    ///
    /// # Safety
    /// As for [`Self::write`].
    pub(super) unsafe fn zero(&self, offset: usize, count: usize) {
        assert!(offset + count <= self.len);
        // SAFETY: in bounds by the assertion, ours alone by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), count) }.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_apart_and_aligned() {
        for lengths in [[5, 0, 33], [1, 64, 1000]] {
            with_scratch(lengths, |buffers| {
                assert_eq!(buffers.each_ref().map(|buffer| buffer.len()), lengths);
                for (i, buffer) in buffers.into_iter().enumerate() {
                    assert_eq!(buffer.as_ptr() as usize % 64, 0);
                    buffer.fill(i as f32);
                    assert!(buffer.iter().all(|x| *x == i as f32));
                }
            });
        }
    }

    #[test]
    fn written_zeros_have_no_sign() {
        let mut values = [1.0f32; 3];
        let shared = Shared::new(&mut values);
        // SAFETY: `values` is ours and alive.
        unsafe { shared.write(1, &[-0.0, -1.0], 1.0) };
        assert_eq!(values.map(f32::to_bits), [1.0f32, 0.0, -1.0].map(f32::to_bits));
    }
}
