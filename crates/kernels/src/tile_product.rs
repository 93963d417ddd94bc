//! Small f32 products held in registers: `C (+)= A B` for one head or one panel.
//!
//! A may have any strides (its values are broadcast). B's columns lie in blocks of 32: `b[j / 32 · panel_stride +
//! p · row_stride + j % 32]`, which covers both packed panels (row stride 32) and a plain matrix (panel stride 32).
//! Each value of C is one chain of fused multiply-adds in the order of k, whatever the tile, so that neighbours and
//! instruction sets change no bit.

use crate::simd::{LANES, Simd, dispatch};

/// Columns per block of B.
pub(crate) const PANEL: usize = 32;

/// The left matrix `[m, k]`: value (i, p) at `data[i · row_stride + p · column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

/// The right matrix `[k, n]` in blocks of 32 columns, the last of which may hold 16.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) panel_stride: usize,
}

/// `C[i, j] (+)= Σ_p A[i, p] B[p, j]` for C `[m, n]` with rows `c_stride` apart; n must be a multiple of 16.
pub(crate) fn multiply(
    [m, n, k]: [usize; 3],
    a: Left<'_>,
    b: Right<'_>,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(n.is_multiple_of(LANES));
    assert!((m - 1) * c_stride + n <= c.len());
    if k > 0 {
        assert!((m - 1) * a.row_stride + (k - 1) * a.column_stride < a.data.len());
        let last = (n - LANES) / PANEL * b.panel_stride + (n - LANES) % PANEL;
        assert!(last + (k - 1) * b.row_stride + LANES <= b.data.len());
        // Blocks before the last lie before it only if the stride holds a whole block.
        assert!(b.panel_stride >= PANEL || n <= PANEL);
    }
    dispatch!(body(m: usize, n: usize, k: usize, a: Left<'_>, b: Right<'_>, c: &mut [f32], c_stride: usize, accumulate: bool))
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn body<S: Simd>(
    s: S,
    m: usize,
    n: usize,
    k: usize,
    a: Left<'_>,
    b: Right<'_>,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    let mut column = 0;
    while column < n {
        let both = S::WIDE && column % PANEL == 0 && n - column >= PANEL;
        let mut row = 0;
        while row < m {
            let tile = Tile {
                k,
                // SAFETY: `multiply` has checked that the last row, column and k lie inside each slice.
                a: unsafe { a.data.as_ptr().add(if k > 0 { row * a.row_stride } else { 0 }) },
                a_row: a.row_stride,
                a_column: a.column_stride,
                b: b.data.as_ptr().wrapping_add(column / PANEL * b.panel_stride + column % PANEL),
                b_row: b.row_stride,
                // SAFETY: as above.
                c: unsafe { c.as_mut_ptr().add(row * c_stride + column) },
                c_row: c_stride,
                accumulate,
            };
            // SAFETY: the tile's rows are at most `m - row`, its columns at most `n - column`, all inside the slices.
            row += unsafe {
                match (both, m - row) {
                    (true, 12..) => tile.run::<S, 12, 2>(s),
                    (true, 8..) => tile.run::<S, 8, 2>(s),
                    (true, 4..) => tile.run::<S, 4, 2>(s),
                    (true, 2..) => tile.run::<S, 2, 2>(s),
                    (true, _) => tile.run::<S, 1, 2>(s),
                    (false, 12..) if S::WIDE => tile.run::<S, 12, 1>(s),
                    // Not 6 and 2: so few sums would wait for one another.
                    (false, 8) => tile.run::<S, 4, 1>(s),
                    (false, 6..) => tile.run::<S, 6, 1>(s),
                    (false, 4..) => tile.run::<S, 4, 1>(s),
                    (false, _) => tile.run::<S, 1, 1>(s),
                }
            };
        }
        column += if both { PANEL } else { LANES };
    }
}

/// One block of C that stays in registers.
struct Tile {
    k: usize,
    a: *const f32,
    a_row: usize,
    a_column: usize,
    b: *const f32,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    accumulate: bool,
}

impl Tile {
    /// Computes R rows of V · 16 columns and returns R.
    ///
    /// # Safety
    /// For every row below R, k and column below 16 V the three pointers must reach valid values.
    #[inline(always)]
    unsafe fn run<S: Simd, const R: usize, const V: usize>(&self, s: S) -> usize {
        // SAFETY: all reads and writes are at rows below R, k below `self.k` and columns below 16 V.
        unsafe {
            let mut sum = [[s.splat(0.0); V]; R];
            if self.accumulate {
                for (i, row) in sum.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = s.load_ptr(self.c.add(i * self.c_row + j * LANES));
                    }
                }
            }
            for p in 0..self.k {
                let mut right = [s.splat(0.0); V];
                for (j, right) in right.iter_mut().enumerate() {
                    *right = s.load_ptr(self.b.add(p * self.b_row + j * LANES));
                }
                for (i, row) in sum.iter_mut().enumerate() {
                    let left = s.splat(*self.a.add(p * self.a_column + i * self.a_row));
                    for (sum, right) in row.iter_mut().zip(right) {
                        *sum = s.fma(left, right, *sum);
                    }
                }
            }
            for (i, row) in sum.iter().enumerate() {
                for (j, sum) in row.iter().enumerate() {
                    s.store_ptr(*sum, self.c.add(i * self.c_row + j * LANES));
                }
            }
        }
        R
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{assert_close, noise};
    use crate::simd::at_each_level;

    #[test]
    fn matches_f64() {
        for (m, n, k) in [(1, 16, 1), (5, 32, 7), (12, 48, 9), (31, 80, 20), (7, 64, 0)] {
            let (a, b, c) = (noise(1, m * k + 1), noise(2, k * n + 32), noise(3, m * n));
            for (row_stride, column_stride) in [(k, 1), (1, m)] {
                let left = Left { data: &a.f32, row_stride, column_stride };
                let right = Right { data: &b.f32, row_stride: n, panel_stride: PANEL };
                let found = at_each_level(|| {
                    let mut found = c.f32.clone();
                    multiply([m, n, k], left, right, &mut found, n, true);
                    found
                });
                let mut expected = c.f64.clone();
                for i in 0..m {
                    for j in 0..n {
                        for p in 0..k {
                            expected[i * n + j] += a.f64[i * row_stride + p * column_stride] * b.f64[p * n + j];
                        }
                    }
                }
                assert_close(&found, &expected, 1e-6);
            }
        }
    }
}
