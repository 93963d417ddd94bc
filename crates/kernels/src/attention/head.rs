//! One head's matrices: gathered from `[B, L, H, Dh]`, kept contiguous, scattered back.

use std::cell::Cell;

use crate::tile_product::PANEL;

/// Runs `f` with a buffer of at least `len` values of any content, kept per thread from call to call.
pub(super) fn with_scratch<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    thread_local! {
        static BUFFER: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    BUFFER.set(buffer);
    result
}

/// Cuts the first `len` values off `scratch`.
pub(super) fn cut<'a>(scratch: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, rest) = std::mem::take(scratch).split_at_mut(len);
    *scratch = rest;
    first
}

/// Copies `rows` rows of `dim` values, `stride` apart, times `factor`, to rows of `padded` values ended by zeros.
pub(super) fn gather_rows(from: &[f32], stride: usize, dim: usize, padded: usize, factor: f32, to: &mut [f32]) {
    for (i, row) in to.chunks_exact_mut(padded).enumerate() {
        let from = &from[i * stride..i * stride + dim];
        for (to, from) in row.iter_mut().zip(from) {
            *to = *from * factor;
        }
        row[dim..].fill(0.0);
    }
}

/// Copies `rows` rows of `dim` values, `stride` apart, transposed to panels `[rows / 32, dim, 32]` ended by zeros.
pub(super) fn gather_columns(from: &[f32], stride: usize, rows: usize, dim: usize, to: &mut [f32]) {
    for (p, panel) in to.chunks_exact_mut(dim * PANEL).enumerate() {
        let first = p * PANEL;
        let count = rows.saturating_sub(first).min(PANEL);
        if count < PANEL {
            panel.fill(0.0);
        }
        for i in 0..count {
            let from = &from[(first + i) * stride..(first + i) * stride + dim];
            for (line, from) in panel.chunks_exact_mut(PANEL).zip(from) {
                line[i] = *from;
            }
        }
    }
}

/// A slice `[B, L, H, Dh]` of which each task writes its own head.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    start: *mut f32,
    len: usize,
}

// SAFETY: only `write_row` touches the memory, and its caller promises that no two threads write the same values.
unsafe impl Send for Heads {}
// SAFETY: as above.
unsafe impl Sync for Heads {}

impl Heads {
    /// The slice must outlive all calls of `write_row`.
    pub(super) fn new(slice: &mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// Writes `row · factor` at `offset`.
    ///
    /// # Safety
    /// The slice given to `new` must still be borrowed, and no other thread may use these values.
    pub(super) unsafe fn write_row(&self, offset: usize, row: &[f32], factor: f32) {
        assert!(offset + row.len() <= self.len);
        // SAFETY: in bounds by the assertion, ours alone by the caller's promise.
        let to = unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), row.len()) };
        for (to, from) in to.iter_mut().zip(row) {
            *to = *from * factor;
        }
    }
}
