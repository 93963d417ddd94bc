//! The product itself: who computes which part, on which path.

use rayon::prelude::*;

use super::packed::PackedInt8;
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::gemm::RowTiles;
#[cfg(any(test, target_arch = "x86_64"))]
use crate::gemm::amx;
use crate::gemm::layout::Layout;
use crate::quant::Int8Path;
use crate::tile_product::PANEL;

/// Some rows of the left factor, `[rows][K]` with K made a multiple of four; signs flipped (plus 128) where the path wants no signs.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [u8],
    pub(super) k: usize,
}

/// Sums of a tile of rows.
pub(super) type Sums = [[i32; PANEL]];

/// Rows of a tile on any path.
pub(super) const TILE: usize = 12;
/// Rows that meet a panel in one task: as many as a canvas usually has, so that weights come from memory once.
const ROW_BLOCK: usize = 264;

/// `out = a · b` in int32: a is `[M, K]`, out row major `[M, N]`. The sums are exact; beyond 2^31, which K below 2^17 never reaches,
/// they wrap. The CPU must have the instructions that b is packed for.
pub fn gemm_int8(a: &[i8], a_layout: Layout, b: &PackedInt8, out: &mut [i32]) {
    a_layout.check(a.len(), "a");
    let (k, n) = (b.rows(), b.cols());
    assert_eq!(a_layout.cols, k, "gemm_int8: a has {} columns, b has {k} rows", a_layout.cols);
    assert_eq!(Some(out.len()), a_layout.rows.checked_mul(n), "gemm_int8: out is not [{}, {n}]", a_layout.rows);
    if k == 0 || out.is_empty() {
        return out.fill(0);
    }
    match b.path() {
        #[cfg(target_arch = "x86_64")]
        Int8Path::Amx => amx::product_packed::<amx::Int8, amx::Instructions>(a, a_layout, [k, n], b.bytes(), out),
        #[cfg(test)]
        Int8Path::AmxEmulation => amx::product_packed::<amx::Int8, amx::Emulation>(a, a_layout, [k, n], b.bytes(), out),
        path => by_panels(path, a, a_layout, b, out),
    }
}

fn by_panels(path: Int8Path, a: &[i8], a_layout: Layout, b: &PackedInt8, out: &mut [i32]) {
    let (m, n, k) = (a_layout.rows, b.cols(), b.rows().next_multiple_of(4));
    let values = pack_rows(a, &a_layout, k, if path.adds_128() { 0x80 } else { 0 });
    let panels = n.div_ceil(PANEL);
    let blocks = RowTiles::new(m, ROW_BLOCK);
    let out = Output { start: out.as_mut_ptr(), columns: n };
    let run = |task: usize| {
        let (panel, block) = (task / blocks.count, task % blocks.count);
        let tiles = RowTiles::new(blocks.rows(block), TILE);
        let (weights, starts) = b.panel(panel);
        for tile in 0..tiles.count {
            let (first, rows) = (blocks.start(block) + tiles.start(tile), tiles.rows(tile));
            let mut sums = [*starts; TILE];
            let x = Rows { values: &values[first * k..(first + rows) * k], k };
            add(path, x, weights, &mut sums[..rows]);
            let width = (n - panel * PANEL).min(PANEL);
            for (i, sums) in sums[..rows].iter().enumerate() {
                let to = out.at(first + i, panel * PANEL);
                // SAFETY: the row and `width` columns exist, and only this task writes them.
                unsafe { to.copy_from_nonoverlapping(sums.as_ptr(), width) };
            }
        }
    };
    match panels * blocks.count {
        1 => run(0),
        tasks => (0..tasks).into_par_iter().for_each(run),
    }
}

/// Adds the products of a tile of rows with a panel `[K / 4][32][4]` to the sums.
fn add(path: Int8Path, x: Rows<'_>, weights: &[u8], sums: &mut Sums) {
    assert!(x.k.is_multiple_of(4) && x.values.len() == sums.len() * x.k && weights.len() == x.k * PANEL);
    match path {
        #[cfg(target_arch = "x86_64")]
        Int8Path::Avx512Vnni => avx512::add(x, weights, sums),
        #[cfg(target_arch = "x86_64")]
        Int8Path::AvxVnni | Int8Path::Avx2 => avx2::add(path == Int8Path::AvxVnni, x, weights, sums),
        Int8Path::Portable => portable::add(x, weights, sums),
        other => assert_eq!(other, Int8Path::Portable, "gemm_int8: this CPU cannot use what is packed for another"),
    }
}

/// The rows one behind the other, each of `k` bytes; all bytes that exist are combined with `flip`.
fn pack_rows(a: &[i8], layout: &Layout, k: usize, flip: u8) -> Vec<u8> {
    let mut values = vec![0; layout.rows * k];
    let fill = |(i, row): (usize, &mut [u8])| {
        let from = &a[i * layout.row_stride..];
        if layout.col_stride == 1 {
            row.iter_mut().zip(&from[..layout.cols]).for_each(|(to, x)| *to = *x as u8 ^ flip);
        } else {
            row.iter_mut().zip(from.iter().step_by(layout.col_stride)).take(layout.cols).for_each(|(to, x)| {
                *to = *x as u8 ^ flip;
            });
        }
    };
    if values.len() < LEAST_TO_SHARE {
        values.chunks_mut(k).enumerate().for_each(fill);
    } else {
        values.par_chunks_mut(k).enumerate().with_min_len(8).for_each(fill);
    }
    values
}

/// Fewer bytes are packed by this thread, sooner than others would come to help.
const LEAST_TO_SHARE: usize = 1 << 15;

/// The result `[M, N]`, of which each task writes its own part.
#[derive(Clone, Copy)]
struct Output {
    start: *mut i32,
    columns: usize,
}

// SAFETY: the memory is reached only through `at`, whose users write different values on different threads.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    fn at(&self, row: usize, column: usize) -> *mut i32 {
        self.start.wrapping_add(row * self.columns + column)
    }
}
