//! Where the values of a matrix lie in a slice.

/// A matrix `[rows, cols]` whose value (i, j) lies at `i · row_stride + j · col_stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Distance between rows, in values.
    pub row_stride: usize,
    /// Distance between columns, in values.
    pub col_stride: usize,
}

impl Layout {
    /// A contiguous row-major matrix `[rows, cols]`.
    pub fn row_major(rows: usize, cols: usize) -> Self {
        Self { rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The same values as the transposed matrix `[cols, rows]`.
    pub fn transposed(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// Fails unless the matrix lies inside a slice of `len` values.
    pub(super) fn check(&self, len: usize, name: &str) {
        if self.rows > 0 && self.cols > 0 {
            // Sizes beyond the address space must not wrap around to small ones.
            let along = |count: usize, stride: usize| (count - 1).checked_mul(stride);
            let last = along(self.rows, self.row_stride).zip(along(self.cols, self.col_stride));
            let last = last.and_then(|(down, across)| down.checked_add(across));
            assert!(last.is_some_and(|last| last < len), "gemm: {name} has {len} values, too few for {self:?}");
        }
    }
}
