//! The product of f32 rows and quantised weights, and the same for the experts of a mixture.

use std::cell::Cell;

use rayon::prelude::*;

use super::activation::QuantRows;
use super::block::Int8Path;
use super::packed::{PackedQuant, with_unpacked};
use super::panel::CHUNK;
use crate::detect::CpuFeatures;
use crate::gemm::{Output, kernel};
use crate::tile_product::PANEL;

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
    let k = weights.inputs();
    let rows = x.len().checked_div(k).unwrap_or(out.len().checked_div(weights.outputs()).unwrap_or(0));
    assert_eq!(x.len(), rows * k, "gemm_quant: {} values are not rows of {k}", x.len());
    assert_eq!(out.len(), rows * weights.outputs(), "gemm_quant: out is not [{rows}, {}]", weights.outputs());
    if k == 0 || out.is_empty() {
        return out.fill(0.0);
    }
    let list: Vec<u32> = (0..rows as u32).collect();
    let x = QuantRows::new(x, k, weights.format().shape());
    let output = Output::new(out, rows, weights.outputs());
    let panels = weights.outputs().div_ceil(PANEL);
    let blocks = rows.div_ceil(ROW_BLOCK);
    let tasks = panels * blocks;
    let run = |task: usize| {
        let first = task % blocks * ROW_BLOCK;
        let rows = &list[first..rows.min(first + ROW_BLOCK)];
        // SAFETY: only this task writes this panel of these rows.
        unsafe { panel_product(path, weights, task / blocks, &x, rows, output, first) };
    };
    for_each_task(tasks, run);
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
    let (format, k, n) = (first.format(), first.inputs(), first.outputs());
    assert!(
        weights.iter().all(|w| (w.format(), w.inputs(), w.outputs()) == (format, k, n)),
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
    for_each_task(blocks.len() * panels, |task| {
        let (weights, range) = &blocks[task / panels];
        // SAFETY: only this task writes this panel of these rows.
        unsafe { panel_product(path, weights, task % panels, &x, &rows[range.clone()], output, range.start) };
    });
}

/// Runs all tasks. A pool of one thread is not worth the way to it.
fn for_each_task(tasks: usize, run: impl Fn(usize) + Send + Sync) {
    if tasks == 1 || rayon::current_num_threads() == 1 {
        (0..tasks).for_each(run);
    } else {
        (0..tasks).into_par_iter().for_each(run);
    }
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
            let chunks = weights.inputs().div_ceil(CHUNK);
            for chunk in 0..chunks {
                let x = x.chunk(chunk);
                let (record, ahead) = weights.record_and_ahead(panel, chunk);
                let chunk = unpacked.read(weights.format(), x.len, [record, ahead], !block.reads_planes(rows.len()));
                block.add(rows, &x, &chunk, sums);
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
