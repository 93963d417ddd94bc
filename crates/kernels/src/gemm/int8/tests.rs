//! Every path against a plain loop: whole numbers, so equal or wrong.

use proptest::prelude::*;

use super::packed::pack_with;
use super::{gemm_int8, pack_int8};
use crate::check::on_threads;
use crate::gemm::amx::tests::{bytes, layouts, size, whole_product};
use crate::gemm::layout::Layout;
use crate::quant::tests::paths;

fn check([m, n, k]: [usize; 3], seed: u64) {
    for la in layouts(m, k) {
        for lb in layouts(k, n) {
            let (a, b) = (bytes(seed, size(&la)), bytes(seed + 1, size(&lb)));
            let expected = whole_product(&a, la, &b, lb);
            for path in paths() {
                let mut out = vec![-1; m * n];
                gemm_int8(&a, la, &pack_with(path, &b, lb), &mut out);
                assert!(out == expected, "{path:?} {la:?} {lb:?}");
            }
        }
    }
}

#[test]
fn all_paths_are_exact() {
    for shape in [
        [1, 1, 1],
        [3, 5, 2],
        [12, 32, 4],
        [13, 33, 65],
        [16, 80, 129],
        [25, 31, 64],
        [1, 100, 257],
        [300, 40, 30],
        [5, 5, 0],
        [0, 4, 3],
        [4, 0, 3],
    ] {
        check(shape, 1);
    }
}

/// The largest sums that there are, which would saturate 16 bits, and sums that wrap.
#[test]
fn extreme_values_are_exact() {
    for (x, y) in [(-128, -128), (127, 127), (-128, 127), (127, -128)] {
        for k in [300, 140_000] {
            let (m, n) = (2, 3);
            let b = vec![y; k * n];
            let product = (i64::from(x) * i64::from(y) * k as i64) as i32;
            for path in paths() {
                let mut out = vec![0; m * n];
                let packed = pack_with(path, &b, Layout::row_major(k, n));
                gemm_int8(&vec![x; m * k], Layout::row_major(m, k), &packed, &mut out);
                assert_eq!(out, vec![product; m * n], "{path:?} {x} {y}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let (m, n, k) = (530, 70, 100);
    let (a, b) = (bytes(1, m * k), bytes(2, k * n));
    let run = || {
        let mut out = vec![0; m * n];
        gemm_int8(&a, Layout::row_major(m, k), &pack_int8(&b, Layout::row_major(k, n)), &mut out);
        out
    };
    let expected = whole_product(&a, Layout::row_major(m, k), &b, Layout::row_major(k, n));
    assert!(on_threads(1, run) == expected && on_threads(3, run) == expected);
}

#[test]
#[should_panic(expected = "gemm_int8: a has 5 columns, b has 4 rows")]
fn unlike_shapes_are_refused() {
    let b = pack_int8(&[1; 8], Layout::row_major(4, 2));
    gemm_int8(&[1; 10], Layout::row_major(2, 5), &b, &mut [0; 4]);
}

#[test]
#[should_panic(expected = "gemm_int8: out is not [2, 2]")]
fn a_result_of_another_shape_is_refused() {
    let b = pack_int8(&[1; 8], Layout::row_major(4, 2));
    gemm_int8(&[1; 8], Layout::row_major(2, 4), &b, &mut [0; 5]);
}

#[test]
#[should_panic(expected = "too few for")]
fn a_factor_that_is_too_short_is_refused() {
    pack_int8(&[1; 7], Layout::row_major(4, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn any_shape_is_exact(m in 1usize..40, n in 1usize..75, k in 1usize..150, seed in 0u64..1000) {
        check([m, n, k], seed);
    }
}
