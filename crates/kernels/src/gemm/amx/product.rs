//! The products of whole matrices.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::block::{Ahead, Block, Sums, Target};
use super::numbers::Numbers;
use super::plan::{PIECE, Plan, chunks, pieces};
use super::strips::{STRIP, Side, Strips, pack, pack_into};
use super::tile::{Tile, Tiles, tiles, tiles_mut};
use crate::gemm::layout::Layout;

/// Packs a right factor `[k, n]` as tiles, `[n / 32][steps of k][2]`.
pub(crate) fn pack_bytes<N: Numbers>(b: &[N::Input], layout: Layout, bytes: &mut [u8]) {
    pack_into::<N>(b, layout.transposed(), Side::Right, tiles_mut(bytes));
}

/// `out = a · b`: a is `[m, k]`, b `[k, n]`, out row major `[m, n]`.
pub(crate) fn product<N: Numbers, T: Tiles>(
    a: &[N::Input],
    a_layout: Layout,
    b: &[N::Input],
    b_layout: Layout,
    out: &mut [N::Sum],
) {
    thread_local! {
        static RIGHT: Cell<Vec<Tile>> = const { Cell::new(Vec::new()) };
    }
    let mut tiles = RIGHT.take();
    pack::<N>(b, b_layout.transposed(), Side::Right, &mut tiles);
    multiply_packed::<N, T>(a, a_layout, [b_layout.rows, b_layout.cols], &tiles, out);
    RIGHT.set(tiles);
}

/// `out = a · b` with the right factor `[k, n]` as [`pack_bytes`] has left it; the same bits.
pub(crate) fn product_packed<N: Numbers, T: Tiles>(
    a: &[N::Input],
    a_layout: Layout,
    shape: [usize; 2],
    bytes: &[u8],
    out: &mut [N::Sum],
) {
    multiply_packed::<N, T>(a, a_layout, shape, tiles(bytes), out);
}

fn multiply_packed<N: Numbers, T: Tiles>(
    a: &[N::Input],
    a_layout: Layout,
    [k, n]: [usize; 2],
    right: &[Tile],
    out: &mut [N::Sum],
) {
    thread_local! {
        static LEFT: Cell<Vec<Tile>> = const { Cell::new(Vec::new()) };
    }
    assert!(T::available(), "gemm: no AMX");
    assert_eq!(a_layout.cols, k, "gemm: a has {} columns, b has {k} rows", a_layout.cols);
    let mut left = LEFT.take();
    pack::<N>(a, a_layout, Side::Left, &mut left);
    let m = a_layout.rows;
    multiply::<N, T>(Strips::new::<N>(&left, m, k), Strips::new::<N>(right, n, k), Output::new(out, m, n));
    LEFT.set(left);
}

fn multiply<N: Numbers, T: Tiles>(left: Strips<'_>, right: Strips<'_>, out: Output<N::Sum>) {
    let plan = Plan::new(left.count(), right.count(), rayon::current_num_threads());
    let run = |task: usize| {
        let [rows, columns] = plan.task(task);
        Task::<N, T> { left, right, out, rows, columns, kind: PhantomData }.run();
    };
    match plan.tasks() {
        0 => {}
        1 => run(0),
        tasks => (0..tasks).into_par_iter().for_each(run),
    }
}

/// Some strips of rows times some strips of columns, by one thread.
struct Task<'a, N: Numbers, T> {
    left: Strips<'a>,
    right: Strips<'a>,
    out: Output<N::Sum>,
    rows: Range<usize>,
    columns: Range<usize>,
    kind: PhantomData<T>,
}

impl<N: Numbers, T: Tiles> Task<'_, N, T> {
    fn run(&self) {
        thread_local! {
            static SUMS: Cell<Vec<Sums>> = const { Cell::new(Vec::new()) };
        }
        let mut waiting = SUMS.take();
        let mut tiles = T::start();
        // Strips of 32 rows, and one of fewer, which has other shapes: to give shapes costs more than a product.
        let full = self.rows.start..self.rows.end.min(self.left.indices() / STRIP);
        let passes = [full.clone(), full.end..self.rows.end];
        let in_chunks = chunks(self.left.steps(), self.rows.len()).count() > 1;
        let places = self.rows.len() * if in_chunks { self.columns.len() } else { 1 };
        if waiting.len() < places {
            waiting.resize(places, [Tile::ZERO; 4]);
        }
        for chunk in chunks(self.left.steps(), self.rows.len()) {
            for column in self.columns.clone() {
                let place = if in_chunks { (column - self.columns.start) * self.rows.len() } else { 0 };
                for pass in passes.iter().filter(|pass| !pass.is_empty()) {
                    let place = place + pass.start - self.rows.start;
                    let waiting = &mut waiting[place..][..pass.len()];
                    self.pass(&mut tiles, chunk.clone(), pass.clone(), column, waiting);
                }
            }
        }
        drop(tiles);
        SUMS.set(waiting);
    }

    /// A chunk of k of one strip of columns, for strips of rows of the same shapes.
    fn pass(&self, tiles: &mut T, chunk: Range<usize>, rows: Range<usize>, column: usize, waiting: &mut [Sums]) {
        let mut block = Block::new(tiles, self.left.present(rows.start));
        for piece in pieces(chunk, rows.len()) {
            let right = self.right.part(column, piece.clone());
            for (i, (row, waiting)) in rows.clone().zip(waiting.iter_mut()).enumerate() {
                let from = (piece.start > 0).then_some(&*waiting);
                let ahead = match rows.start == self.rows.start {
                    true => Ahead::share(piece.len().min(PIECE), i, rows.len()),
                    // The strips before this one have fetched it all.
                    false => Ahead::NOTHING,
                };
                block.add::<N>(from, self.left.part(row, piece.clone()), right, ahead);
                if piece.end < self.left.steps() {
                    block.keep(waiting);
                } else {
                    // SAFETY: the block has the rows that are present; only this task writes this strip of rows and columns.
                    unsafe { block.finish::<N>(self.out.at(row, column)) };
                }
            }
        }
    }
}

/// The result `[m, n]`, of which each task writes its own blocks.
struct Output<S> {
    start: *mut S,
    rows: usize,
    columns: usize,
}

impl<S> Clone for Output<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Output<S> {}

// SAFETY: the memory is reached only through `at`, whose callers promise that no two threads use the same values.
unsafe impl<S: Send> Send for Output<S> {}
// SAFETY: as above.
unsafe impl<S: Send> Sync for Output<S> {}

impl<S> Output<S> {
    /// The slice must outlive all uses of the pointers that `at` gives.
    fn new(out: &mut [S], rows: usize, columns: usize) -> Self {
        assert_eq!(
            Some(out.len()),
            rows.checked_mul(columns),
            "gemm: out has {} values, not [{rows}, {columns}]",
            out.len()
        );
        Self { start: out.as_mut_ptr(), rows, columns }
    }

    /// The block of a strip of rows and a strip of columns.
    fn at(&self, row: usize, column: usize) -> Target<S> {
        let (row, column) = (row * STRIP, column * STRIP);
        assert!(row < self.rows && column < self.columns);
        let start = self.start.wrapping_add(row * self.columns + column);
        Target { start, stride: self.columns, width: (self.columns - column).min(STRIP) }
    }
}
