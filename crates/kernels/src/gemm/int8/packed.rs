//! Right factors of int8 that are packed once for many products.
//!
//! For tiles the order is that of `amx`. For all other paths it is panels of 32 columns, `[N / 32][K / 4][32][4]`: four k of a column
//! side by side, as the dot products read them. What is absent is zero. `vpdpbusd` takes one factor without signs: it gets a + 128,
//! and sums begin at -128 Σ_k b.

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;

use crate::aligned::AlignedBytes;
#[cfg(any(test, target_arch = "x86_64"))]
use crate::gemm::amx;
use crate::gemm::layout::Layout;
use crate::quant::{Int8Path, int8_path};
use crate::tile_product::PANEL;

/// A right factor `[K, N]` of int8 in the order of one path.
#[derive(Clone)]
pub struct PackedInt8 {
    path: Int8Path,
    rows: usize,
    cols: usize,
    bytes: Arc<AlignedBytes>,
    /// What the sums of each column begin with.
    starts: Arc<[[i32; PANEL]]>,
}

/// Packs b, `[K, N]`, for the path of this process.
pub fn pack_int8(b: &[i8], b_layout: Layout) -> PackedInt8 {
    pack_with(int8_path(), b, b_layout)
}

pub(super) fn pack_with(path: Int8Path, b: &[i8], b_layout: Layout) -> PackedInt8 {
    b_layout.check(b.len(), "b");
    let Layout { rows, cols, .. } = b_layout;
    let panels = cols.div_ceil(PANEL);
    let per_panel = match path.in_tiles() {
        true => rows.div_ceil(64).checked_mul(2 * 1024),
        false => rows.div_ceil(4).checked_mul(4 * PANEL),
    };
    let len = per_panel.and_then(|bytes| bytes.checked_mul(panels));
    assert!(len.is_some(), "gemm_int8: no memory holds [{rows}, {cols}]");
    let mut bytes = AlignedBytes::zeroed(len.unwrap_or(0));
    let mut starts = vec![[0; PANEL]; panels];
    match path {
        #[cfg(any(test, target_arch = "x86_64"))]
        _ if path.in_tiles() => amx::pack_bytes::<amx::Int8>(b, b_layout, &mut bytes),
        _ if rows > 0 => bytes
            .par_chunks_mut(rows.div_ceil(4) * 4 * PANEL)
            .zip(&mut starts)
            .enumerate()
            .for_each(|(panel, (bytes, starts))| pack_panel(b, &b_layout, panel, bytes, starts)),
        _ => {}
    }
    if !path.adds_128() {
        starts.fill([0; PANEL]);
    }
    PackedInt8 { path, rows, cols, bytes: bytes.into(), starts: starts.into() }
}

fn pack_panel(b: &[i8], layout: &Layout, panel: usize, bytes: &mut [u8], starts: &mut [i32; PANEL]) {
    let first = panel * PANEL;
    for (column, start) in starts.iter_mut().enumerate().take(layout.cols - first) {
        for k in 0..layout.rows {
            let value = b[k * layout.row_stride + (first + column) * layout.col_stride];
            bytes[(k / 4 * PANEL + column) * 4 + k % 4] = value as u8;
            *start = start.wrapping_sub(128 * i32::from(value));
        }
    }
}

impl PackedInt8 {
    /// K.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// N.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The path that it is packed for.
    pub fn path(&self) -> Int8Path {
        self.path
    }

    #[cfg(any(test, target_arch = "x86_64"))]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A panel, and what the sums of its columns begin with.
    pub(super) fn panel(&self, panel: usize) -> (&[u8], &[i32; PANEL]) {
        let len = self.rows.div_ceil(4) * 4 * PANEL;
        (&self.bytes[panel * len..(panel + 1) * len], &self.starts[panel])
    }
}

impl fmt::Debug for PackedInt8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedInt8({} [{}, {}])", self.path.name(), self.rows, self.cols)
    }
}
