//! Tiles in registers and in memory.

/// Rows of a tile, and 32-bit values in one of its rows.
pub(crate) const SIDE: usize = 16;

/// A whole tile in memory: 16 rows of 64 bytes, one cache line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(crate) [[u32; SIDE]; SIDE]);

/// Rows and bytes per row of a tile register; both are zero where it is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// At most 16.
    pub(crate) rows: u8,
    /// At most 64, a multiple of 4.
    pub(crate) bytes: u8,
}

/// The eight tile registers of this thread. At most one value of an implementing type is in use on a thread at a time.
///
/// Names of registers are constants: their place is in the instruction. A register is used as its shape says: rows and bytes
/// beyond it are zero after a load or a product, and are not written by a store.
pub(crate) trait Tiles: Sized {
    /// Whether the CPU and the system allow it.
    fn available() -> bool;

    /// Takes the registers, none of which has a shape yet. Panics where they are not available.
    fn start() -> Self;

    /// `ldtilecfg`, palette 1: gives all registers shapes and zeroes them.
    fn configure(&mut self, shapes: &[Shape; 8]);

    /// `tilezero`.
    fn zero<const T: u8>(&mut self);

    /// `tileloadd` of a whole tile.
    #[inline(always)]
    fn load<const T: u8>(&mut self, from: &Tile) {
        // SAFETY: a tile in memory holds the most rows and bytes that a register can have, 64 bytes apart.
        unsafe { self.load_rows::<T>(from.0.as_ptr().cast(), Tile::STRIDE) }
    }

    /// `tileloadd`: `stride` bytes lie between the starts of two rows.
    ///
    /// # Safety
    /// The rows of the register's shape must be readable at `from`.
    unsafe fn load_rows<const T: u8>(&mut self, from: *const u8, stride: usize);

    /// `tilestored`: `stride` bytes lie between the starts of two rows.
    ///
    /// # Safety
    /// The rows of the register's shape must be writable at `to`.
    unsafe fn store<const T: u8>(&self, to: *mut u8, stride: usize);

    /// `tdpbf16ps`: C (f32) += A (pairs of bf16) · B (the same).
    ///
    /// For each value of C, the products of the first halves of the pairs are summed in the order of k from zero, those of the
    /// second halves likewise; then the sums of the two are added, and that to C. Each addition of a product rounds once, to
    /// nearest even; denormal inputs count as zero, denormal results become zero.
    fn dot_bf16<const C: u8, const A: u8, const B: u8>(&mut self);

    /// `tdpbssd`: C (i32, wrapping) += A (fours of signed bytes) · B (the same).
    fn dot_i8<const C: u8, const A: u8, const B: u8>(&mut self);

    /// Asks for the line at this address, which may lie anywhere, in the level-2 cache.
    fn prefetch(line: *const Tile);
}

impl Tile {
    pub(crate) const ZERO: Self = Self([[0; SIDE]; SIDE]);

    /// Bytes between the starts of two rows.
    pub(crate) const STRIDE: usize = size_of::<[u32; SIDE]>();

    /// Where the first byte lies.
    pub(crate) fn bytes(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    /// Exchanges rows and columns.
    pub(crate) fn transpose(&mut self) {
        let from = self.0;
        for (i, row) in self.0.iter_mut().enumerate() {
            for (value, from) in row.iter_mut().zip(&from) {
                *value = from[i];
            }
        }
    }
}

/// Packed bytes seen as tiles.
pub(super) fn tiles(bytes: &[u8]) -> &[Tile] {
    assert!(bytes.as_ptr().cast::<Tile>().is_aligned(), "gemm: packed weights must begin at a cache line");
    // SAFETY: the address is aligned, the tiles lie inside the slice, and any bytes are a tile.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<Tile>()) }
}

/// As [`tiles`], to be written.
pub(super) fn tiles_mut(bytes: &mut [u8]) -> &mut [Tile] {
    assert!(bytes.as_ptr().cast::<Tile>().is_aligned(), "gemm: packed weights must begin at a cache line");
    // SAFETY: as in `tiles`; the bytes are borrowed mutably.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<Tile>()) }
}

impl Shape {
    /// `rows` of 64 bytes, or an unused register.
    pub(crate) fn of(rows: usize) -> Self {
        assert!(rows <= SIDE, "gemm: a tile has at most {SIDE} rows, not {rows}");
        Self { rows: rows as u8, bytes: if rows > 0 { 4 * SIDE as u8 } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposition_exchanges_rows_and_columns() {
        let mut tile = Tile::ZERO;
        for (i, row) in tile.0.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = (i * SIDE + j) as u32;
            }
        }
        tile.transpose();
        for (i, row) in tile.0.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert_eq!(*value as usize, j * SIDE + i);
            }
        }
    }
}
