//! Quantised weights in the order of the kernels, whole or packed some rows at a time.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, Int8Path};
use super::chunk::Unpacked;
use super::format::{QuantError, QuantFormat};
use super::panel::{CHUNK, pack_panel, panel_bytes, record_bytes};
use crate::aligned::{AlignedBytes, Bytes, SharedBytes};
use crate::tile_product::PANEL;

/// Quantised weights `[N, K]` of a linear layer, y = x Wᵀ, in the order of the kernels: as large as in the file.
#[derive(Clone)]
pub struct PackedQuant {
    format: QuantFormat,
    outputs: usize,
    inputs: usize,
    bytes: Bytes,
}

/// Quantised weights `[N, K]` that are packed some rows at a time, so that their blocks need not be in memory as a whole.
#[derive(Debug)]
pub struct QuantPacker {
    format: QuantFormat,
    outputs: usize,
    inputs: usize,
    bytes: AlignedBytes,
    /// Rows packed so far.
    filled: usize,
}

impl PackedQuant {
    /// Packs N rows of K weights, each row whole blocks of the format.
    ///
    /// # Errors
    /// If K is not whole blocks, or the bytes are too many or too few.
    pub fn pack(format: QuantFormat, [outputs, inputs]: [usize; 2], blocks: &[u8]) -> Result<Self, QuantError> {
        format.check([outputs, inputs], blocks.len())?;
        let mut packer = QuantPacker::new(format, [outputs, inputs])?;
        packer.add(blocks)?;
        Ok(packer.finish())
    }

    /// Weights that were packed before: the bytes that [`PackedQuant::bytes`] gave, at `range` of `owner`.
    ///
    /// # Errors
    /// If K is not whole blocks, or the bytes are too many or too few.
    pub fn from_packed(
        format: QuantFormat,
        [outputs, inputs]: [usize; 2],
        owner: SharedBytes,
        range: Range<usize>,
    ) -> Result<Self, QuantError> {
        let found = (*owner).as_ref().get(range.clone()).map_or(0, <[u8]>::len);
        let expected = Self::packed_bytes(format, [outputs, inputs]);
        if expected != Some(found) {
            format.check_columns(inputs)?;
            return Err(QuantError::Bytes { format, shape: [outputs, inputs], expected, found });
        }
        Ok(Self { format, outputs, inputs, bytes: Bytes::Shared(owner, range) })
    }

    /// The bytes that a packed matrix takes; `None` where K is not whole blocks or memory cannot hold so many.
    pub fn packed_bytes(format: QuantFormat, [outputs, inputs]: [usize; 2]) -> Option<usize> {
        let file = format.matrix_bytes(outputs, inputs)?;
        if file == 0 {
            return Some(0);
        }
        // A panel of no more than twice the file's bytes and 32 rows: no overflow where the file itself has none to spare.
        (file <= usize::MAX / 64).then(|| outputs.div_ceil(PANEL) * panel_bytes(format, inputs))
    }

    /// The format.
    pub fn format(&self) -> QuantFormat {
        self.format
    }

    /// N, the outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// K, the inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The packed bytes, for a file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The weights of output `row` in f32, K values: what the embedding of a token is where weights are tied.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(
            row < self.outputs && out.len() == self.inputs,
            "quant: row {row} of {} x {}",
            self.outputs,
            self.inputs
        );
        let (panel, column) = (row / PANEL, row % PANEL);
        let shape = self.format.shape();
        with_unpacked(|unpacked| {
            for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
                let unpacked =
                    unpacked.read(self.format, out.len(), [self.record_and_ahead(panel, chunk).0, &[]], true);
                for (k, out) in out.iter_mut().enumerate() {
                    let u = f32::from(unpacked.planes.low[k / 4 * 4 * PANEL + 4 * column + k % 4]);
                    let scale = unpacked.scales[k / shape.group * PANEL + column];
                    *out = match shape.offset {
                        Some(offset) => scale * (u - offset as f32),
                        None => scale * u - unpacked.minima[k / 32 * PANEL + column],
                    };
                }
            }
        });
    }

    /// The record of a chunk, and as many bytes some way behind its first, which will be read next.
    #[inline(always)]
    pub(super) fn record_and_ahead(&self, panel: usize, chunk: usize) -> (&[u8], &[u8]) {
        /// Measured on Zen 5: 2 to 8 KiB are alike, to ask for nothing costs a tenth.
        const AHEAD: usize = 4096;
        let len = CHUNK.min(self.inputs - chunk * CHUNK);
        let start = panel * panel_bytes(self.format, self.inputs) + chunk * record_bytes(self.format, CHUNK);
        let (bytes, end) = (self.bytes(), start + record_bytes(self.format, len));
        let at = |place: usize| (place + AHEAD).min(bytes.len());
        (&bytes[start..end], &bytes[at(start)..at(end)])
    }

    pub(super) fn block(&self, path: Int8Path) -> Block {
        let shape = self.format.shape();
        Block {
            path,
            group: shape.group,
            eight_bits: shape.low_bits == 8,
            minima: shape.offset.is_none(),
            offset: shape.offset.unwrap_or(0) as u8,
        }
    }
}

impl QuantPacker {
    /// Begins N rows of K weights.
    ///
    /// # Errors
    /// If K is not whole blocks, or memory cannot hold so many.
    pub fn new(format: QuantFormat, [outputs, inputs]: [usize; 2]) -> Result<Self, QuantError> {
        let Some(len) = PackedQuant::packed_bytes(format, [outputs, inputs]) else {
            format.check_columns(inputs)?;
            return Err(QuantError::Bytes { format, shape: [outputs, inputs], expected: None, found: 0 });
        };
        Ok(Self { format, outputs, inputs, bytes: AlignedBytes::zeroed(len), filled: 0 })
    }

    /// Packs the blocks of the next rows, a multiple of 32 of them unless they are the last.
    ///
    /// # Errors
    /// If the bytes are not whole rows.
    pub fn add(&mut self, blocks: &[u8]) -> Result<(), QuantError> {
        let Self { format, outputs, inputs, filled, .. } = *self;
        if outputs == 0 || inputs == 0 {
            self.filled = outputs;
            return Ok(());
        }
        let per_row = inputs / format.block_len() * format.block_bytes();
        let end = filled + blocks.len() / per_row;
        format.check([end - filled, inputs], blocks.len())?;
        assert!(
            filled.is_multiple_of(PANEL) && end <= outputs,
            "quant: rows {filled}..{end} cannot follow in [{outputs}, {inputs}]"
        );
        let per_panel = panel_bytes(format, inputs);
        let rows: Vec<&[u8]> = blocks.chunks_exact(per_row).collect();
        self.bytes[filled / PANEL * per_panel..end.div_ceil(PANEL) * per_panel]
            .par_chunks_mut(per_panel)
            .zip(rows.par_chunks(PANEL))
            .for_each(|(panel, rows)| pack_panel(format, rows, inputs, panel));
        self.filled = end;
        Ok(())
    }

    /// The whole matrix.
    pub fn finish(self) -> PackedQuant {
        let Self { format, outputs, inputs, bytes, filled } = self;
        assert_eq!(filled, outputs, "quant: {filled} rows of [{outputs}, {inputs}] are packed");
        PackedQuant { format, outputs, inputs, bytes: bytes.into() }
    }
}

impl std::fmt::Debug for PackedQuant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedQuant({} [{}, {}])", self.format, self.outputs, self.inputs)
    }
}

/// Runs `f` with this thread's place to unpack to.
pub(super) fn with_unpacked(f: impl FnOnce(&mut Unpacked)) {
    thread_local! {
        static UNPACKED: Cell<Option<Unpacked>> = const { Cell::new(None) };
    }
    let mut unpacked = UNPACKED.take().unwrap_or_else(Unpacked::new);
    f(&mut unpacked);
    UNPACKED.set(Some(unpacked));
}
