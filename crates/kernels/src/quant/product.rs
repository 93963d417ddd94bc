//! The product of f32 rows and quantised weights, and the same for the experts of a mixture.

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::activation::QuantRows;
use super::block::{Block, Int8Path};
use super::format::{QuantError, QuantFormat};
use super::panel::{CHUNK, Unpacked, pack_panel, panel_bytes, record_bytes};
use crate::aligned::{AlignedBytes, Bytes, SharedBytes};
use crate::detect::CpuFeatures;
use crate::gemm::{Output, kernel};
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
                let unpacked = unpacked.read(self.format, out.len(), self.record(panel, chunk));
                for (k, out) in out.iter_mut().enumerate() {
                    let u = f32::from(unpacked.integers[k / 4 * 4 * PANEL + 4 * column + k % 4]);
                    let scale = unpacked.scales[k / shape.group * PANEL + column];
                    *out = match shape.offset {
                        Some(offset) => scale * (u - offset as f32),
                        None => scale * u - unpacked.minima[k / 32 * PANEL + column],
                    };
                }
            }
        });
    }

    fn record(&self, panel: usize, chunk: usize) -> &[u8] {
        let len = CHUNK.min(self.inputs - chunk * CHUNK);
        let start = panel * panel_bytes(self.format, self.inputs) + chunk * record_bytes(self.format, CHUNK);
        &self.bytes()[start..start + record_bytes(self.format, len)]
    }

    fn block(&self, path: Int8Path) -> Block {
        let shape = self.format.shape();
        Block { path, group: shape.group, eight_bits: shape.low_bits == 8, minima: shape.offset.is_none() }
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

/// The int8 path of this process.
pub fn int8_path() -> Int8Path {
    Int8Path::of(kernel(), CpuFeatures::detect_once())
}

/// `out = x Wᵀ`: x is `[M, K]`, W `[N, K]`, out `[M, N]`, all row major. Each row of x is rounded to int8 in chunks of 256 with a scale
/// of their own; the products are exact, their sums in f32. A row's result depends on nothing else.
pub fn gemm_quant(x: &[f32], weights: &PackedQuant, out: &mut [f32]) {
    product_with(int8_path(), x, weights, out);
}

pub(crate) fn product_with(path: Int8Path, x: &[f32], weights: &PackedQuant, out: &mut [f32]) {
    let k = weights.inputs;
    let rows = x.len().checked_div(k).unwrap_or(out.len().checked_div(weights.outputs).unwrap_or(0));
    assert_eq!(x.len(), rows * k, "gemm_quant: {} values are not rows of {k}", x.len());
    assert_eq!(out.len(), rows * weights.outputs, "gemm_quant: out is not [{rows}, {}]", weights.outputs);
    if k == 0 || out.is_empty() {
        return out.fill(0.0);
    }
    let list: Vec<u32> = (0..rows as u32).collect();
    let x = QuantRows::new(x, k, weights.format.shape());
    let output = Output::new(out, rows, weights.outputs);
    let panels = weights.outputs.div_ceil(PANEL);
    let blocks = rows.div_ceil(ROW_BLOCK);
    let tasks = panels * blocks;
    let run = |task: usize| {
        let first = task % blocks * ROW_BLOCK;
        let rows = &list[first..rows.min(first + ROW_BLOCK)];
        // SAFETY: only this task writes this panel of these rows.
        unsafe { panel_product(path, weights, task / blocks, &x, rows, output, first) };
    };
    if tasks == 1 { run(0) } else { (0..tasks).into_par_iter().for_each(run) }
}

/// Products of groups of rows, each with weights of its own: the rows `rows[starts[g]..starts[g + 1]]` of x `[M, K]` meet
/// `weights[g]`, and `out[i]` is the product of row `rows[i]`. All weights have one format and shape `[N, K]`; out is `[len of rows, N]`.
pub fn gemm_grouped(x: &[f32], weights: &[PackedQuant], rows: &[u32], starts: &[usize], out: &mut [f32]) {
    grouped_with(int8_path(), x, weights, rows, starts, out);
}

pub(crate) fn grouped_with(
    path: Int8Path,
    x: &[f32],
    weights: &[PackedQuant],
    rows: &[u32],
    starts: &[usize],
    out: &mut [f32],
) {
    let Some(first) = weights.first() else {
        assert!(out.is_empty(), "gemm_grouped: there are no weights");
        return;
    };
    let (format, k, n) = (first.format, first.inputs, first.outputs);
    assert!(
        weights.iter().all(|w| (w.format, w.inputs, w.outputs) == (format, k, n)),
        "gemm_grouped: weights of different formats or shapes"
    );
    assert_eq!(out.len(), rows.len() * n, "gemm_grouped: out is not [{}, {n}]", rows.len());
    let sound = starts.len() == weights.len() + 1 && starts.is_sorted() && starts.last() == Some(&rows.len());
    assert!(sound, "gemm_grouped: {starts:?} do not cut {} rows into {} groups", rows.len(), weights.len());
    if k == 0 || out.is_empty() {
        return out.fill(0.0);
    }
    let x = QuantRows::new(x, k, format.shape());
    let output = Output::new(out, rows.len(), n);
    let mut blocks = Vec::new();
    for (weights, range) in weights.iter().zip(starts.windows(2)) {
        for start in (range[0]..range[1]).step_by(ROW_BLOCK) {
            blocks.push((weights, start..range[1].min(start + ROW_BLOCK)));
        }
    }
    let panels = n.div_ceil(PANEL);
    (0..blocks.len() * panels).into_par_iter().for_each(|task| {
        let (weights, range) = &blocks[task / panels];
        // SAFETY: only this task writes this panel of these rows.
        unsafe { panel_product(path, weights, task % panels, &x, &rows[range.clone()], output, range.start) };
    });
}

/// Rows that meet a panel in one task: their sums stay in the caches.
const ROW_BLOCK: usize = 258;

/// The listed rows of `x` times one panel, to the rows of `out` from `to` on.
///
/// # Safety
/// No other thread may use this panel of these rows of `out`.
pub(super) unsafe fn panel_product(
    path: Int8Path,
    weights: &PackedQuant,
    panel: usize,
    x: &QuantRows,
    rows: &[u32],
    out: Output,
    to: usize,
) {
    let block = weights.block(path);
    with_sums(rows.len() * PANEL, |sums| {
        sums.fill(0.0);
        with_unpacked(|unpacked| {
            let chunks = weights.inputs.div_ceil(CHUNK);
            for chunk in 0..chunks {
                let x = x.chunk(chunk);
                if chunk + 1 < chunks {
                    prefetch(weights.record(panel, chunk + 1));
                }
                block.add(rows, x, unpacked.read(weights.format, x.len, weights.record(panel, chunk)), sums);
            }
        });
        let (start, width) = out.at([to, panel * PANEL], rows.len(), PANEL);
        for (row, sums) in sums.as_chunks::<PANEL>().0.iter().enumerate() {
            // SAFETY: `at` has checked the rows and says how many columns exist; they are this call's alone.
            unsafe {
                let to = start.add(row * out.stride());
                match width {
                    PANEL => to.cast::<[f32; PANEL]>().write_unaligned(*sums),
                    _ => to.copy_from_nonoverlapping(sums.as_ptr(), width),
                }
            }
        }
    });
}

/// Asks for bytes that will be read soon.
fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

fn with_sums(len: usize, f: impl FnOnce(&mut [f32])) {
    thread_local! {
        static SUMS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut sums = SUMS.take();
    if sums.len() < len {
        sums.resize(len, 0.0);
    }
    f(&mut sums[..len]);
    SUMS.set(sums);
}

fn with_unpacked(f: impl FnOnce(&mut Unpacked)) {
    thread_local! {
        static UNPACKED: Cell<Option<Unpacked>> = const { Cell::new(None) };
    }
    let mut unpacked = UNPACKED.take().unwrap_or_else(Unpacked::new);
    f(&mut unpacked);
    UNPACKED.set(Some(unpacked));
}
