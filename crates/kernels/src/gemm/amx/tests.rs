//! The products on emulated tiles.

use std::fmt::Debug;

use proptest::prelude::*;

use super::Emulation;
use super::numbers::{Bf16, Int8, Numbers};
use super::product::{pack_bytes, product, product_packed};
use super::tile::Tiles;
use crate::aligned::AlignedBytes;
use crate::check::{noise, on_threads};
use crate::gemm::layout::Layout;

/// 64-bit values that look random.
pub(super) fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ z >> 29
    }
}

pub(crate) fn bytes(seed: u64, len: usize) -> Vec<i8> {
    let mut next = random(seed);
    (0..len).map(|_| (next() >> 40) as i8).collect()
}

/// Row major, transposed, and with gaps both ways.
pub(crate) fn layouts(rows: usize, cols: usize) -> [Layout; 4] {
    [
        Layout::row_major(rows, cols),
        Layout::row_major(cols, rows).transposed(),
        Layout { rows, cols, row_stride: 3 * cols + 1, col_stride: 3 },
        Layout { rows, cols, row_stride: cols + 5, col_stride: 1 },
    ]
}

pub(crate) fn size(layout: &Layout) -> usize {
    layout.rows * layout.row_stride + layout.cols * layout.col_stride
}

pub(crate) fn whole_product(a: &[i8], la: Layout, b: &[i8], lb: Layout) -> Vec<i32> {
    let at = |x: &[i8], l: &Layout, i: usize, j: usize| i32::from(x[i * l.row_stride + j * l.col_stride]);
    let cells = (0..la.rows).flat_map(|i| (0..lb.cols).map(move |j| (i, j)));
    cells.map(|(i, j)| (0..la.cols).map(|p| at(a, &la, i, p) * at(b, &lb, p, j)).sum()).collect()
}

/// The product, which must have the same bits with its right factor packed before.
pub(super) fn run<N: Numbers, T: Tiles>(
    a: &[N::Input],
    la: Layout,
    b: &[N::Input],
    lb: Layout,
    fill: N::Sum,
) -> Vec<N::Sum>
where
    N::Sum: PartialEq + Debug,
{
    let mut out = vec![fill; la.rows * lb.cols];
    product::<N, T>(a, la, b, lb, &mut out);
    let mut again = vec![fill; la.rows * lb.cols];
    let tiles = lb.cols.div_ceil(32) * lb.rows.div_ceil(N::STEP) * 2;
    let mut packed = AlignedBytes::zeroed(tiles * 1024);
    pack_bytes::<N>(b, lb, &mut packed);
    product_packed::<N, T>(a, la, [lb.rows, lb.cols], &packed, &mut again);
    assert_eq!(out, again);
    out
}

fn int8_is_exact<T: Tiles>([m, n, k]: [usize; 3], seed: u64) {
    for la in layouts(m, k) {
        for lb in layouts(k, n) {
            let (a, b) = (bytes(seed, size(&la)), bytes(seed + 1, size(&lb)));
            assert!(run::<Int8, T>(&a, la, &b, lb, -1) == whole_product(&a, la, &b, lb), "{la:?} {lb:?}");
        }
    }
}

#[test]
fn int8_products_are_exact() {
    for shape in [[1, 1, 1], [3, 5, 2], [32, 32, 64], [33, 47, 65], [16, 80, 129], [5, 5, 0], [0, 4, 3], [4, 0, 3]] {
        int8_is_exact::<Emulation>(shape, 1);
    }
    let (m, n, k) = (33, 33, 1000);
    let (la, lb) = (Layout::row_major(m, k), Layout::row_major(k, n));
    let extreme = run::<Int8, Emulation>(&vec![-128; m * k], la, &vec![-128; k * n], lb, 0);
    assert_eq!(extreme, vec![128 * 128 * k as i32; m * n]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn int8_products_of_any_shape_are_exact(m in 1usize..70, n in 1usize..70, k in 1usize..140, seed in 0u64..1000) {
        int8_is_exact::<Emulation>([m, n, k], seed);
    }
}

/// The sums of one row by the definition of the instruction, one after another over all of k.
fn chain(a: &[f32], b: &[f32], n: usize, column: usize) -> f32 {
    let round = |x: f32| half::bf16::from_f32(x).to_f32();
    let mut sum = 0.0f32;
    for (step, a) in a.chunks(Bf16::STEP).enumerate() {
        let mut chains = [0.0f32; 2];
        for (p, a) in a.iter().enumerate() {
            let b = b[(step * Bf16::STEP + p) * n + column];
            chains[p % 2] = round(*a).mul_add(round(b), chains[p % 2]);
        }
        sum += chains[0] + chains[1];
    }
    sum
}

/// Pieces and chunks of k, several tasks, and strips of fewer rows beside whole ones.
#[test]
fn long_sums_are_one_chain_in_the_order_of_k() {
    for (m, n, k) in [(2, 3, 900), (50, 40, 900), (230, 270, 130), (270, 33, 3300), (600, 20, 500)] {
        let (a, b) = (noise(1, m * k).f32, noise(2, k * n).f32);
        let (la, lb) = (Layout::row_major(m, k), Layout::row_major(k, n));
        let found = run::<Bf16, Emulation>(&a, la, &b, lb, f32::NAN);
        let mut next = random(3);
        let corners = [(0, 0), (m - 1, n - 1), (m - 1, 0), (0, n - 1)];
        let others = (0..200).map(|_| (next() as usize % m, next() as usize % n)).collect::<Vec<_>>();
        for (i, j) in corners.into_iter().chain(others) {
            assert_eq!(found[i * n + j], chain(&a[i * k..][..k], &b, n, j), "{m} {n} {k}: {i} {j}");
        }
        let run = || run::<Bf16, Emulation>(&a, la, &b, lb, f32::NAN);
        assert!(on_threads(1, run) == found && on_threads(7, run) == found);
        let (a, b) = (bytes(1, m * k), bytes(2, k * n));
        assert!(super::tests::run::<Int8, Emulation>(&a, la, &b, lb, 0) == whole_product(&a, la, &b, lb));
    }
}
