//! Right factors that are packed once for many products: the weights of a frozen layer.
//!
//! Every path has an order of its own. All of them are panels of 32 columns, one behind the other, so that a factor can be packed
//! some panels at a time, and all hold bf16, little end first:
//!
//! * amx: `[N / 32][K / 32][2]` tiles of 16 columns, in each of them `[16][16][2]`: pairs of k, columns, the two k of the pair;
//! * avx512: `[N / 32][K / 2][32][2]`, two k of a column side by side, as `vdpbf16ps` reads them;
//! * portable: `[N / 32][K][32]`.
//!
//! Absent columns, and the absent half of the last pair, are zeros.

use std::fmt;
use std::ops::Range;

#[cfg(any(test, target_arch = "x86_64"))]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::layout::Layout;
use super::portable;
use super::product::bf16_path;
use super::select::Bf16Path;
use crate::aligned::{AlignedBytes, Bytes, LINE, SharedBytes};
use crate::tile_product::PANEL;

/// A right factor `[K, N]`, rounded to bf16 and packed for the products of one path. A clone shares its memory.
#[derive(Clone)]
pub struct PackedBf16 {
    path: Bf16Path,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

/// A right factor `[K, N]` that is packed some columns at a time, so that it need not be in memory as a whole.
#[derive(Debug)]
pub struct Bf16Packer {
    path: Bf16Path,
    rows: usize,
    cols: usize,
    bytes: AlignedBytes,
    /// Columns packed so far.
    filled: usize,
}

/// What is wrong with packed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackedError {
    /// They are too many or too few.
    Bytes {
        /// The factor, K and N.
        shape: [usize; 2],
        /// Bytes that it takes; `None` where that is more than memory can hold.
        expected: Option<usize>,
        /// Bytes given.
        found: usize,
    },
    /// They do not begin at a multiple of 64.
    Alignment,
}

/// Packs a right factor `[K, N]` for [`super::gemm_bf16_packed`].
pub fn pack_bf16(b: &[f32], b_layout: Layout) -> PackedBf16 {
    pack_with(bf16_path(), b, b_layout)
}

pub(crate) fn pack_with(path: Bf16Path, b: &[f32], b_layout: Layout) -> PackedBf16 {
    let mut packer = Bf16Packer::with(path, [b_layout.rows, b_layout.cols]);
    packer.add(b, b_layout);
    packer.finish()
}

impl PackedBf16 {
    /// A factor that was packed before: the bytes that [`PackedBf16::bytes`] gave, at `range` of `owner`, for the same path.
    ///
    /// # Errors
    /// If the bytes are too many or too few, or do not begin at a multiple of 64.
    pub fn from_packed(
        path: Bf16Path,
        [rows, cols]: [usize; 2],
        owner: SharedBytes,
        range: Range<usize>,
    ) -> Result<Self, PackedError> {
        let bytes = (*owner).as_ref().get(range.clone());
        let found = bytes.map_or(0, <[u8]>::len);
        let expected = Self::packed_bytes(path, [rows, cols]);
        if expected != Some(found) {
            return Err(PackedError::Bytes { shape: [rows, cols], expected, found });
        }
        if bytes.is_some_and(|bytes| !bytes.as_ptr().addr().is_multiple_of(LINE)) {
            return Err(PackedError::Alignment);
        }
        Ok(Self { path, rows, cols, bytes: Bytes::Shared(owner, range) })
    }

    /// The bytes that a packed factor `[K, N]` takes; `None` where memory cannot hold so many.
    pub fn packed_bytes(path: Bf16Path, [rows, cols]: [usize; 2]) -> Option<usize> {
        panel_bytes(path, rows).and_then(|bytes| cols.div_ceil(PANEL).checked_mul(bytes))
    }

    /// The path that it is packed for.
    pub fn path(&self) -> Bf16Path {
        self.path
    }

    /// K, the rows of the factor.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// N, the columns of the factor and of the result.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The packed bytes, for a file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A column in f32, K values: of the weights `[N, K]` of a linear layer, packed as the factor `[K, N]`, this is a row, and the
    /// embedding of a token where weights are tied. Any CPU can read what was packed for any path.
    pub fn column(&self, column: usize, out: &mut [f32]) {
        let Self { rows, cols, .. } = *self;
        assert!(column < cols && out.len() == rows, "gemm: column {column} of {rows} x {cols} into {}", out.len());
        let bytes = self.bytes();
        // Where the value at k lies, in values.
        let (panel, inner) = (column / PANEL, column % PANEL);
        let place = |k: usize| match self.path {
            #[cfg(test)]
            Bf16Path::AmxEmulation => in_tiles(rows, panel, inner, k),
            Bf16Path::Amx => in_tiles(rows, panel, inner, k),
            Bf16Path::Avx512 => (panel * rows.div_ceil(2) + k / 2) * 2 * PANEL + 2 * inner + k % 2,
            Bf16Path::Portable => (panel * rows + k) * PANEL + inner,
        };
        for (k, out) in out.iter_mut().enumerate() {
            let at = 2 * place(k);
            *out = f32::from_bits(u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])) << 16);
        }
    }
}

impl Bf16Packer {
    /// Begins a factor of `[K, N]` for the path of this process.
    pub fn new(shape: [usize; 2]) -> Self {
        Self::with(bf16_path(), shape)
    }

    pub(super) fn with(path: Bf16Path, [rows, cols]: [usize; 2]) -> Self {
        // Elsewhere those names mean the portable path.
        let path = if cfg!(target_arch = "x86_64") { path } else { Bf16Path::Portable };
        let bytes = PackedBf16::packed_bytes(path, [rows, cols]);
        assert!(bytes.is_some(), "gemm: no memory holds [{rows}, {cols}]");
        Self { path, rows, cols, bytes: AlignedBytes::zeroed(bytes.unwrap_or(0)), filled: 0 }
    }

    /// Packs the next columns: b is `[K, n]`, n a multiple of 32 unless they are the last.
    pub fn add(&mut self, b: &[f32], b_layout: Layout) {
        b_layout.check(b.len(), "b");
        let Layout { rows, cols, .. } = b_layout;
        let end = self.filled + cols;
        assert_eq!(rows, self.rows, "gemm: columns of {rows} values do not belong to [{}, {}]", self.rows, self.cols);
        assert!(
            self.filled.is_multiple_of(PANEL) && end <= self.cols,
            "gemm: columns {}..{end} cannot follow in [{rows}, {}]",
            self.filled,
            self.cols
        );
        let per_panel = panel_bytes(self.path, rows).unwrap_or(0);
        let to = &mut self.bytes[self.filled / PANEL * per_panel..end.div_ceil(PANEL) * per_panel];
        match self.path {
            #[cfg(target_arch = "x86_64")]
            Bf16Path::Amx => amx::pack_bytes::<amx::Bf16>(b, b_layout, to),
            #[cfg(test)]
            Bf16Path::AmxEmulation => amx::pack_bytes::<amx::Bf16>(b, b_layout, to),
            #[cfg(target_arch = "x86_64")]
            Bf16Path::Avx512 => avx512::pack(b, &b_layout, to),
            #[cfg(not(target_arch = "x86_64"))]
            Bf16Path::Amx | Bf16Path::Avx512 => {}
            Bf16Path::Portable => portable::pack(b, &b_layout, to),
        }
        self.filled = end;
    }

    /// The whole factor.
    pub fn finish(self) -> PackedBf16 {
        let Self { path, rows, cols, bytes, filled } = self;
        assert_eq!(filled, cols, "gemm: {filled} columns of [{rows}, {cols}] are packed");
        PackedBf16 { path, rows, cols, bytes: bytes.into() }
    }
}

/// Bytes of a panel of 32 columns of K values; `None` where memory cannot hold so many.
fn panel_bytes(path: Bf16Path, k: usize) -> Option<usize> {
    let values = match path {
        #[cfg(test)]
        Bf16Path::AmxEmulation => k.checked_next_multiple_of(32)?,
        Bf16Path::Amx => k.checked_next_multiple_of(32)?,
        Bf16Path::Avx512 => k.checked_next_multiple_of(2)?,
        Bf16Path::Portable => k,
    };
    values.checked_mul(2 * PANEL)
}

/// Where the value at k of a column of a panel lies in the order of the tiles, in values.
fn in_tiles(rows: usize, panel: usize, column: usize, k: usize) -> usize {
    let tile = (panel * rows.div_ceil(32) + k / 32) * 2 + column / 16;
    tile * 512 + k % 32 / 2 * 32 + 2 * (column % 16) + k % 2
}

impl fmt::Debug for PackedBf16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedBf16({} [{}, {}])", self.path.layout(), self.rows, self.cols)
    }
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { shape: [rows, cols], expected, found } => {
                write!(f, "a packed factor [{rows}, {cols}] takes ")?;
                match expected {
                    Some(expected) => write!(f, "{expected} bytes, but there are {found}"),
                    None => write!(f, "more bytes than memory can hold, but there are {found}"),
                }
            }
            Self::Alignment => f.write_str("a packed factor must begin at a multiple of 64 bytes"),
        }
    }
}

impl std::error::Error for PackedError {}
