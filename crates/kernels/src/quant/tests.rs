//! Every path against f64 over the dequantised weights, and against the portable path, bit for bit.

use proptest::prelude::*;

use super::product::{grouped_with, product_with};
use super::*;
use crate::check::{assert_close, noise, on_threads};
use crate::detect::CpuFeatures;

/// All paths that can run here, and the emulated one.
pub(crate) fn paths() -> Vec<Int8Path> {
    let cpu = CpuFeatures::detect();
    let mut paths = vec![Int8Path::Portable, Int8Path::AmxEmulation];
    if cpu.avx2 && cpu.fma {
        paths.push(Int8Path::Avx2);
    }
    if cpu.avx2 && cpu.fma && cpu.avxvnni {
        paths.push(Int8Path::AvxVnni);
    }
    if cpu.avx512vnni && cpu.avx512bw {
        paths.push(Int8Path::Avx512Vnni);
        if cpu.runs_amx() {
            paths.push(Int8Path::Amx);
        }
    }
    paths
}

/// Random blocks with scales that make sense: halves between 2^-7 and 2^-3, either sign.
fn blocks(format: QuantFormat, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let len = format.matrix_bytes(rows, columns).expect("a matrix");
    let mut bytes: Vec<u8> = noise(seed, len).f32.iter().map(|x| ((x + 2.0) * 63.99) as u8).collect();
    let halves: &[usize] = match format {
        QuantFormat::Q4_0 | QuantFormat::Q5_0 | QuantFormat::Q8_0 => &[0],
        QuantFormat::Q6K => &[208],
        _ => &[0, 2],
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for at in halves {
            block[at + 1] = 0x20 | block[at + 1] & 0x8f;
        }
    }
    bytes
}

fn reference(x: &[f64], weights: &[f32], columns: usize) -> Vec<f64> {
    let dot = |x: &[f64], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum();
    x.chunks_exact(columns).flat_map(|x| weights.chunks_exact(columns).map(move |w| dot(x, w))).collect()
}

fn check(format: QuantFormat, [m, n, k]: [usize; 3], seed: u64) {
    let blocks = blocks(format, n, k, seed);
    let mut weights = vec![0.0; n * k];
    format.dequantize(&blocks, &mut weights).expect("whole blocks");
    let packed = PackedQuant::pack(format, [n, k], &blocks).expect("whole blocks");
    for row in 0..n {
        let mut found = vec![f32::NAN; k];
        packed.row(row, &mut found);
        assert_eq!(found, weights[row * k..(row + 1) * k]);
    }
    let x = noise(seed + 1, m * k);
    let mut expected = vec![0.0; m * n];
    product_with(Int8Path::Portable, &x.f32, &packed, &mut expected);
    for path in paths() {
        let mut out = vec![f32::NAN; m * n];
        product_with(path, &x.f32, &packed, &mut out);
        assert_eq!(out, expected, "{path:?} {format} {m} x {k} x {n}");
    }
    // Rounding to 127 steps a side errs by at most half a step of 2 / 127 in each of k values, in the r.m.s. by 1 / sqrt 3 of it.
    let exact = reference(&x.f64, &weights, k);
    let spread = |w: &[f32]| w.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
    for ((found, exact), i) in expected.iter().zip(&exact).zip(0..) {
        let most = 6.0 * (1.0 / 127.0) / 3f64.sqrt() * spread(&weights[i % n * k..][..k]) + 1e-5;
        assert!((f64::from(*found) - exact).abs() < most, "{format}: {found} for {exact}, more than {most} off");
    }
}

#[test]
fn all_formats_match_the_dequantised_weights() {
    for format in QuantFormat::ALL {
        for shape in [[1, 1, 256], [5, 33, 512], [6, 32, 256], [13, 70, 768], [300, 40, 256]] {
            check(format, shape, 3);
        }
        if format.block_len() == 32 {
            [[3, 5, 32], [7, 40, 288], [12, 64, 480]].into_iter().for_each(|shape| check(format, shape, 5));
        }
    }
}

/// The error against f32 products, as a share of the product's root mean square, for Gaussian-like data.
#[test]
fn the_error_of_int8_activations_is_bounded() {
    let (m, n, k) = (16, 64, 2048);
    let sum = |seed: u64| {
        (0..12).map(|i| noise(seed * 12 + i, m * k).f32).reduce(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect())
    };
    let x = sum(7).expect("twelve terms");
    let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    for format in QuantFormat::ALL {
        let blocks = blocks(format, n, k, 9);
        let mut weights = vec![0.0; n * k];
        format.dequantize(&blocks, &mut weights).expect("whole blocks");
        let packed = PackedQuant::pack(format, [n, k], &blocks).expect("whole blocks");
        let mut out = vec![0.0; m * n];
        gemm_quant(&x, &packed, &mut out);
        let exact = reference(&wide, &weights, k);
        let square = |x: f64| x * x;
        let error: f64 = out.iter().zip(&exact).map(|(a, b)| square(f64::from(*a) - b)).sum();
        let share = (error / exact.iter().map(|x| square(*x)).sum::<f64>()).sqrt();
        assert!(share < 0.01, "{format}: {share}");
    }
}

#[test]
fn a_row_depends_on_nothing_else() {
    let (m, n, k) = (101, 77, 512);
    for format in QuantFormat::ALL {
        let packed = PackedQuant::pack(format, [n, k], &blocks(format, n, k, 1)).expect("whole blocks");
        let x = noise(2, m * k).f32;
        for path in paths() {
            let run = || {
                let mut out = vec![0.0; m * n];
                product_with(path, &x, &packed, &mut out);
                out
            };
            let all = on_threads(1, run);
            assert!(on_threads(3, run) == all);
            for rows in [1, 2, 3, 4, 5, 6, 7, 13, 24, 25] {
                let first = m - rows - 1;
                let mut some = vec![0.0; rows * n];
                product_with(path, &x[first * k..(first + rows) * k], &packed, &mut some);
                assert_eq!(some, all[first * n..(first + rows) * n]);
            }
        }
    }
}

/// Groups of neighbours, of rows far from one another, of one row and of none; on emulated tiles as on every other path (AMX).
#[test]
fn grouped_rows_have_the_bits_of_dense_ones_on_amx_and_elsewhere() {
    let (m, n, k) = (90, 45, 512);
    let x = noise(4, m * k).f32;
    let dense_list: Vec<u32> = (7..60).collect();
    let far: Vec<u32> = (0..35).map(|i| i * 37 % m as u32).collect();
    let groups = [dense_list, vec![], far, vec![89], vec![3, 4, 6]];
    let ends = groups.iter().scan(0, |end, group| {
        *end += group.len();
        Some(*end)
    });
    let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
    for format in QuantFormat::ALL {
        let pack = |seed| PackedQuant::pack(format, [n, k], &blocks(format, n, k, seed)).expect("whole blocks");
        let weights: Vec<_> = (0..groups.len() as u64).map(pack).collect();
        for path in paths() {
            let rows = groups.concat();
            let mut out = vec![f32::NAN; rows.len() * n];
            grouped_with(path, &x, &weights, &rows, &starts, &mut out);
            let mut found = out.chunks_exact(n);
            for (weights, group) in weights.iter().zip(&groups) {
                let mut dense = vec![0.0; m * n];
                product_with(path, &x, weights, &mut dense);
                for row in group {
                    assert_eq!(found.next(), Some(&dense[*row as usize * n..][..n]), "{path:?} {format}");
                }
            }
        }
    }
}

#[test]
fn packed_bytes_can_be_used_again() {
    let format = QuantFormat::Q5K;
    let packed = PackedQuant::pack(format, [40, 512], &blocks(format, 40, 512, 1)).expect("whole blocks");
    let file = [&[7u8; 13], packed.bytes()].concat();
    let range = 13..file.len();
    let again = PackedQuant::from_packed(format, [40, 512], std::sync::Arc::new(file), range).expect("the same bytes");
    let x = noise(3, 3 * 512).f32;
    let product = |packed| {
        let mut out = vec![0.0; 3 * 40];
        gemm_quant(&x, packed, &mut out);
        out
    };
    assert_eq!(product(&packed), product(&again));
    let short = PackedQuant::from_packed(format, [41 * 32, 512], std::sync::Arc::new(vec![0u8; 5]), 0..5);
    assert!(short.is_err_and(|error| error.to_string().contains("but there are 5")));
}

#[test]
fn a_matrix_packed_in_parts_is_the_same() {
    for (format, n, k) in [(QuantFormat::Q4K, 133, 512), (QuantFormat::Q5_0, 70, 288), (QuantFormat::Q8_0, 32, 64)] {
        let blocks = blocks(format, n, k, 1);
        let whole = PackedQuant::pack(format, [n, k], &blocks).expect("whole blocks");
        let mut packer = QuantPacker::new(format, [n, k]).expect("a matrix");
        let mut joined = Vec::new();
        for part in blocks.chunks(64 * format.matrix_bytes(1, k).expect("a row")) {
            packer.add(part).expect("whole rows");
            let rows = part.len() / format.matrix_bytes(1, k).expect("a row");
            joined.extend_from_slice(PackedQuant::pack(format, [rows, k], part).expect("whole rows").bytes());
        }
        assert!(packer.finish().bytes() == whole.bytes() && joined == whole.bytes());
    }
    let mut packer = QuantPacker::new(QuantFormat::Q8_0, [64, 32]).expect("a matrix");
    assert!(packer.add(&[0; 33]).is_err_and(|error| error.to_string().contains("but there are 33")));
    assert!(QuantPacker::new(QuantFormat::Q8_0, [usize::MAX, 32]).is_err());
}

#[test]
fn what_is_no_number_stays_none() {
    let format = QuantFormat::Q8_0;
    let packed = PackedQuant::pack(format, [3, 64], &blocks(format, 3, 64, 1)).expect("whole blocks");
    let mut x = vec![1.0; 2 * 64];
    x[70] = f32::INFINITY;
    let mut out = vec![0.0; 6];
    gemm_quant(&x, &packed, &mut out);
    assert!(out[..3].iter().all(|x| x.is_finite()) && out[3..].iter().all(|x| x.is_nan()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Few rows are unpacked in registers, many in a buffer; a row is the same among any number of others, on every path.
    #[test]
    fn few_rows_have_the_bits_of_many(
        format in 0usize..7, rows in 1usize..60, n in 1usize..70, k in 1usize..4, seed in 0u64..1000,
    ) {
        let format = QuantFormat::ALL[format];
        let (m, k) = (70, k * if format.block_len() == 32 { 160 } else { 256 });
        let packed = PackedQuant::pack(format, [n, k], &blocks(format, n, k, seed)).expect("whole blocks");
        let x = noise(seed, m * k).f32;
        for path in paths() {
            let mut all = vec![0.0; m * n];
            product_with(path, &x, &packed, &mut all);
            let mut some = vec![0.0; rows * n];
            product_with(path, &x[..rows * k], &packed, &mut some);
            prop_assert_eq!(&some, &all[..rows * n], "{:?}", path);
        }
    }

    #[test]
    fn any_shape(format in 0usize..7, m in 1usize..30, n in 1usize..70, k in 1usize..4, seed in 0u64..1000) {
        let format = QuantFormat::ALL[format];
        check(format, [m, n, k * format.block_len()], seed);
    }

    /// Broken blocks are computed on as they are: any bytes are some weights.
    #[test]
    fn any_bytes_are_weights(format in 0usize..7, seed in 0u64..1000) {
        let format = QuantFormat::ALL[format];
        let len = format.matrix_bytes(33, 256).expect("a matrix");
        let bytes: Vec<u8> = noise(seed, len).f32.iter().map(|x| ((x + 2.0) * 63.99) as u8).collect();
        let packed = PackedQuant::pack(format, [33, 256], &bytes).expect("whole blocks");
        let x = noise(seed, 256).f32;
        let products: Vec<_> = paths().into_iter().map(|path| {
            let mut out = vec![0.0; 33];
            product_with(path, &x, &packed, &mut out);
            out.iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect::<Vec<_>>()
        }).collect();
        prop_assert!(products.iter().all(|product| product == &products[0]));
    }
}

/// Found by fuzzing: no rows of more columns than any panel could hold.
#[test]
fn nothing_of_any_width_is_packed() {
    let packed = PackedQuant::pack(QuantFormat::Q6K, [0, 10 << 56], &[]).expect("no rows");
    assert_eq!((packed.bytes().len(), packed.outputs()), (0, 0));
    assert!(PackedQuant::pack(QuantFormat::Q8_0, [1, usize::MAX & !31], &[]).is_err());
}

#[test]
fn close_to_f32_products() {
    let x = noise(1, 256);
    let format = QuantFormat::Q8_0;
    let packed = PackedQuant::pack(format, [2, 256], &blocks(format, 2, 256, 1)).expect("whole blocks");
    let mut weights = vec![0.0; 512];
    packed.row(0, &mut weights[..256]);
    packed.row(1, &mut weights[256..]);
    let mut out = vec![0.0; 2];
    gemm_quant(&x.f32, &packed, &mut out);
    assert_close(&out, &reference(&x.f64, &weights, 256), 0.02);
}
