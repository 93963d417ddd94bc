//! All kernels that can run here, and the emulated one, against f64 on bf16-rounded inputs, over all layouts.

use half::bf16;
use proptest::prelude::*;

use super::packed::pack_with;
use super::product::product_with;
use super::*;
use crate::check::{Noise, assert_close, noise, on_threads};
use crate::detect::CpuFeatures;
use crate::simd::at_each_level;

fn kernels() -> Vec<Kernel> {
    let cpu = CpuFeatures::detect();
    let mut kernels = vec![Kernel::Portable, Kernel::AmxEmulation];
    if cpu.avx512_bf16 && cpu.avx512bw {
        kernels.push(Kernel::Avx512);
    }
    if cpu.runs_amx() {
        kernels.push(Kernel::Amx);
    }
    kernels
}

fn path(kernel: Kernel) -> Bf16Path {
    kernel.bf16(CpuFeatures::detect_once())
}

/// Row major, transposed, and with gaps both ways.
fn layouts(rows: usize, cols: usize) -> [Layout; 4] {
    [
        Layout::row_major(rows, cols),
        Layout::row_major(cols, rows).transposed(),
        Layout { rows, cols, row_stride: 3 * cols + 1, col_stride: 3 },
        Layout { rows, cols, row_stride: cols + 5, col_stride: 1 },
    ]
}

fn values(seed: u64, layout: &Layout) -> Noise {
    noise(seed, layout.rows * layout.row_stride.max(1) + layout.cols * layout.col_stride)
}

fn naive(a: &[f32], la: Layout, b: &[f32], lb: Layout) -> Vec<f64> {
    let round = |x: f32| bf16::from_f32(x).to_f64();
    let mut out = Vec::new();
    for i in 0..la.rows {
        for j in 0..lb.cols {
            let term = |p: usize| {
                round(a[i * la.row_stride + p * la.col_stride]) * round(b[p * lb.row_stride + j * lb.col_stride])
            };
            out.push((0..la.cols).map(term).sum());
        }
    }
    out
}

fn check([m, n, k]: [usize; 3], seed: u64) {
    for la in layouts(m, k) {
        for lb in layouts(k, n) {
            let (a, b) = (values(seed, &la), values(seed + 1, &lb));
            let expected = naive(&a.f32, la, &b.f32, lb);
            for kernel in kernels() {
                // The portable product is one of lanes: at every level it is the same.
                let run = || {
                    let mut out = vec![f32::NAN; m * n];
                    product_with(kernel, &a.f32, la, &b.f32, lb, &mut out, false);
                    out
                };
                let out = if kernel == Kernel::Portable { at_each_level(run) } else { run() };
                assert_close(&out, &expected, 1e-6 * (k as f64).sqrt().max(1.0));
                let packed = pack_with(path(kernel), &b.f32, lb);
                let mut again = vec![f32::NAN; m * n];
                gemm_bf16_packed(&a.f32, la, &packed, &mut again);
                assert_eq!(out, again);
            }
        }
    }
}

#[test]
fn odd_shapes_match_f64() {
    for shape in [
        [1, 1, 1],
        [3, 5, 2],
        [12, 32, 32],
        [13, 33, 33],
        [25, 70, 65],
        [7, 16, 31],
        [40, 17, 129],
        [5, 5, 0],
        [0, 4, 3],
        [4, 0, 3],
        [300, 300, 40],
    ] {
        check(shape, 1);
    }
}

/// So much k, and so many rows, that a block of the grid holds not all of them.
#[test]
fn long_sums_and_many_rows_match_f64() {
    for [m, n, k] in [[200, 70, 3000], [512, 40, 1200]] {
        let (la, lb) = (Layout::row_major(m, k), Layout::row_major(n, k).transposed());
        let (a, b) = (values(1, &la), values(2, &lb));
        let expected = naive(&a.f32, la, &b.f32, lb);
        for kernel in kernels() {
            let run = || {
                let mut out = vec![f32::NAN; m * n];
                product_with(kernel, &a.f32, la, &b.f32, lb, &mut out, false);
                out
            };
            let out = run();
            assert_close(&out, &expected, 1e-6 * (k as f64).sqrt());
            assert!(on_threads(1, run) == out && on_threads(3, run) == out);
            for first in [0, m / 2 + 1, m - 7] {
                let mut some = vec![f32::NAN; 7 * n];
                product_with(kernel, &a.f32[first * k..], Layout::row_major(7, k), &b.f32, lb, &mut some, false);
                assert!(some == out[first * n..(first + 7) * n]);
            }
        }
    }
}

#[test]
fn packed_columns_are_the_rounded_weights() {
    for (k, n) in [(1, 1), (2, 32), (7, 33), (64, 100), (31, 64)] {
        for layout in layouts(k, n) {
            let b = values(3, &layout).f32;
            for kernel in kernels() {
                let packed = pack_with(path(kernel), &b, layout);
                for column in 0..n {
                    let mut found = vec![f32::NAN; k];
                    packed.column(column, &mut found);
                    let at = |p: usize| b[p * layout.row_stride + column * layout.col_stride];
                    let expected: Vec<f32> = (0..k).map(|p| bf16::from_f32(at(p)).to_f32()).collect();
                    assert_eq!(found, expected, "{packed:?}, column {column}");
                }
            }
        }
    }
}

#[test]
fn a_factor_packed_in_parts_or_read_again_is_the_same() {
    let (k, n) = (37, 133);
    let weights = noise(5, k * n).f32;
    for kernel in kernels() {
        let whole = pack_with(path(kernel), &weights, Layout::row_major(n, k).transposed());
        let mut packer = Bf16Packer::with(path(kernel), [k, n]);
        let mut joined = Vec::new();
        for rows in weights.chunks(64 * k) {
            let layout = Layout::row_major(rows.len() / k, k).transposed();
            packer.add(rows, layout);
            joined.extend_from_slice(pack_with(path(kernel), rows, layout).bytes());
        }
        let parts = packer.finish();
        assert!(parts.bytes() == whole.bytes() && joined == whole.bytes());

        let bytes = whole.bytes();
        let mut file = crate::aligned::AlignedBytes::zeroed(64 + bytes.len());
        file[64..].copy_from_slice(bytes);
        let file = std::sync::Arc::new(SharedFile(file));
        let end = 64 + bytes.len();
        let again = PackedBf16::from_packed(path(kernel), [k, n], file.clone(), 64..end).expect("the same bytes");
        let x = noise(6, 3 * k).f32;
        let product = |packed| {
            let mut out = vec![f32::NAN; 3 * n];
            gemm_bf16_packed(&x, Layout::row_major(3, k), packed, &mut out);
            out
        };
        assert_eq!(product(&whole), product(&again));

        let refused =
            |shape, range| PackedBf16::from_packed(path(kernel), shape, file.clone(), range).expect_err("a mistake");
        assert_eq!(refused([k, n], 62..end - 2), PackedError::Alignment);
        assert!(refused([k, n], 64..end - 64).to_string().contains(&format!("but there are {}", bytes.len() - 64)));
        assert!(refused([k, n + 32], 64..end).to_string().contains("a packed factor [37, 165] takes"));
        assert!(refused([k, n], 64..end + 64).to_string().contains("but there are 0"));
        assert!(refused([usize::MAX, n], 64..end).to_string().contains("more bytes than memory can hold"));
    }
}

struct SharedFile(crate::aligned::AlignedBytes);

impl AsRef<[u8]> for SharedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn a_row_does_not_depend_on_the_other_rows_nor_on_threads() {
    let (m, n, k) = (101, 77, 83);
    let (a, b) = (noise(1, m * k), noise(2, k * n));
    let (la, lb) = (Layout::row_major(m, k), Layout::row_major(k, n));
    for kernel in kernels() {
        let run = || {
            let mut out = vec![0.0; m * n];
            product_with(kernel, &a.f32, la, &b.f32, lb, &mut out, false);
            out
        };
        let all = at_each_level(run);
        assert!(on_threads(1, run) == all && on_threads(3, run) == all);
        for rows in 1..30 {
            let first = m - rows - 1;
            let mut some = vec![0.0; rows * n];
            product_with(kernel, &a.f32[first * k..], Layout::row_major(rows, k), &b.f32, lb, &mut some, false);
            assert_eq!(some, all[first * n..(first + rows) * n]);
        }
        // The same values from a transposed copy.
        let columns: Vec<f32> = (0..k * m).map(|i| a.f32[i % m * k + i / m]).collect();
        let mut out = vec![0.0; m * n];
        product_with(kernel, &columns, Layout::row_major(k, m).transposed(), &b.f32, lb, &mut out, false);
        assert_eq!(out, all);
    }
}

#[test]
fn sums_go_on_from_what_is_there() {
    for ([m, n, k], split) in [([13, 33, 70], 32), ([30, 70, 41], 10), ([1, 5, 3], 2), ([4, 4, 6], 6)] {
        for (la, lb) in layouts(m, k).into_iter().zip(layouts(k, n)) {
            let (a, b) = (values(1, &la), values(2, &lb));
            let parts = [0..split, split..k].map(|part| {
                let (la, lb) = (Layout { cols: part.len(), ..la }, Layout { rows: part.len(), ..lb });
                (&a.f32[part.start * la.col_stride..], la, &b.f32[part.start * lb.row_stride..], lb)
            });
            for kernel in kernels() {
                let whole = product(kernel, (&a.f32, la, &b.f32, lb), vec![f32::NAN; m * n], false);
                let run = || product(kernel, parts[1], product(kernel, parts[0], vec![f32::NAN; m * n], false), true);
                let found = at_each_level(run);
                assert_eq!(on_threads(3, run), found);
                match path(kernel) {
                    Bf16Path::Amx | Bf16Path::AmxEmulation => {
                        assert_close(&found, &whole.iter().copied().map(f64::from).collect::<Vec<_>>(), 1e-5);
                    }
                    Bf16Path::Avx512 | Bf16Path::Portable => assert_eq!(found, whole),
                }
            }
        }
    }
}

fn product(kernel: Kernel, factors: (&[f32], Layout, &[f32], Layout), mut out: Vec<f32>, add: bool) -> Vec<f32> {
    let (a, la, b, lb) = factors;
    product_with(kernel, a, la, b, lb, &mut out, add);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_shape_matches_f64(m in 1usize..45, n in 1usize..75, k in 1usize..100, seed in 0u64..1000) {
        check([m, n, k], seed);
    }

    #[test]
    fn integers_are_exact(m in 1usize..30, n in 1usize..40, k in 1usize..50, seed in 0u64..1000) {
        let whole = |seed, len| noise(seed, len).f32.iter().map(|x| (x * 4.0).round()).collect::<Vec<f32>>();
        let (a, b) = (whole(seed, m * k), whole(seed + 1, k * n));
        let (la, lb) = (Layout::row_major(m, k), Layout::row_major(k, n));
        let expected: Vec<f32> = naive(&a, la, &b, lb).iter().map(|x| *x as f32).collect();
        for kernel in kernels() {
            let mut out = vec![0.0; m * n];
            product_with(kernel, &a, la, &b, lb, &mut out, false);
            prop_assert_eq!(&out, &expected);
        }
    }
}

/// Sizes whose product is beyond the address space are refused, not taken for what is left of it.
#[test]
fn sizes_that_wrap_around_are_refused() {
    const HUGE: usize = 1 << (usize::BITS / 2);
    let refused = |run: fn()| std::panic::catch_unwind(run).is_err();
    assert!(refused(|| super::gemm_bf16(&[], Layout::row_major(HUGE, 0), &[], Layout::row_major(0, HUGE), &mut [])));
    assert!(refused(|| Layout { rows: 3, cols: 2, row_stride: usize::MAX / 2 + 1, col_stride: 1 }.check(2, "a")));
    assert!(refused(|| Layout { rows: 2, cols: 2, row_stride: usize::MAX, col_stride: 1 }.check(2, "a")));
}
