//! Same row, same bits: a row of any product or fused kernel, alone and among any others, on any number of threads, on every path.

use proptest::prelude::*;

use crate::attention::{AttentionShape, KeyValues, all_keys, attention};
use crate::check::{noise, on_threads};
use crate::detect::CpuFeatures;
use crate::gemm::{Kernel, Layout, product_with};
use crate::quant::{Int8Path, PackedQuant, QuantFormat, grouped_with, random_blocks};
use crate::simd::at_each_level;
use crate::vocab::{Request, Transform, reduce};

/// Every kernel that can run here, and the emulated one.
fn kernels() -> Vec<Kernel> {
    let runs = |kernel: &Kernel| kernel.missing(CpuFeatures::detect_once()).is_none();
    Kernel::ALL.into_iter().chain([Kernel::AmxEmulation]).filter(runs).collect()
}

fn int8_paths() -> Vec<Int8Path> {
    let cpu = CpuFeatures::detect_once();
    let avx2 = cpu.avx2 && cpu.fma;
    let mut paths = vec![Int8Path::Portable];
    paths.extend(avx2.then_some(Int8Path::Avx2));
    paths.extend((avx2 && cpu.avxvnni).then_some(Int8Path::AvxVnni));
    paths.extend((cpu.avx512f && cpu.avx512bw && cpu.avx512vnni).then_some(Int8Path::Avx512Vnni));
    paths
}

fn weights(format: QuantFormat, [n, k]: [usize; 2], seed: u64) -> PackedQuant {
    let blocks = random_blocks(format, [n, k], 0.05, seed).expect("whole blocks");
    PackedQuant::pack(format, [n, k], &blocks).expect("whole blocks")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// How many rows, and which of them is looked at.
fn row_of() -> impl Strategy<Value = (usize, usize)> {
    (1usize..=40).prop_flat_map(|rows| (Just(rows), 0..rows))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn of_the_bf16_product((rows, row) in row_of(), threads in 1usize..=3, n in 1usize..70, k in 1usize..90, seed in 0u64..1000) {
        let (a, b) = (noise(seed, rows * k).f32, noise(seed + 1, k * n).f32);
        for kernel in kernels() {
            let product = |a: &[f32]| {
                let rows = a.len() / k;
                let mut out = vec![f32::NAN; rows * n];
                product_with(kernel, a, Layout::row_major(rows, k), &b, Layout::row_major(k, n), &mut out, false);
                bits(&out)
            };
            let all = on_threads(threads, || product(&a));
            prop_assert!(product(&a[row * k..][..k]) == all[row * n..][..n], "{}", kernel);
        }
    }

    #[test]
    fn of_the_quantised_product(
        (rows, row) in row_of(), threads in 1usize..=3, format in 0usize..7, n in 1usize..70, blocks in 1usize..3, seed in 0u64..1000,
    ) {
        let format = QuantFormat::ALL[format];
        let k = blocks * format.block_len();
        let (x, weights) = (noise(seed, rows * k).f32, weights(format, [n, k], seed));
        for path in int8_paths() {
            let product = |x: &[f32]| {
                let mut out = vec![f32::NAN; x.len() / k * n];
                crate::quant::product_with(path, x, &weights, &mut out);
                bits(&out)
            };
            let all = on_threads(threads, || product(&x));
            prop_assert!(product(&x[row * k..][..k]) == all[row * n..][..n], "{:?} {}", path, format);
        }
    }

    /// A row that goes to an expert has the bits that it has there alone.
    #[test]
    fn of_the_grouped_product(
        (rows, row) in row_of(), threads in 1usize..=3, format in 0usize..7, n in 1usize..70, cut in 0usize..=40, seed in 0u64..1000,
    ) {
        let format = QuantFormat::ALL[format];
        let k = format.block_len();
        let x = noise(seed, rows * k).f32;
        let experts = [weights(format, [n, k], seed), weights(format, [n, k], seed + 1)];
        let list: Vec<u32> = (0..rows as u32).rev().collect();
        let (at, cut) = (rows - 1 - row, cut.min(rows));
        for path in int8_paths() {
            let all = on_threads(threads, || {
                let mut out = vec![f32::NAN; rows * n];
                grouped_with(path, &x, &experts, &list, &[0, cut, rows], &mut out);
                bits(&out)
            });
            let mut alone = vec![f32::NAN; n];
            crate::quant::product_with(path, &x[row * k..][..k], &experts[usize::from(at >= cut)], &mut alone);
            prop_assert!(bits(&alone) == all[at * n..][..n], "{:?} {}", path, format);
        }
    }

    #[test]
    fn of_attention((rows, row) in row_of(), threads in 1usize..=3, keys in 1usize..70, head_dim in 1usize..50, seed in 0u64..1000) {
        let shape = AttentionShape { batch: 1, heads: 2, kv_heads: 1, queries: rows, keys, head_dim };
        let (q, width) = (noise(seed, shape.query_len()).f32, 2 * head_dim);
        let (k, v) = (noise(seed + 1, shape.key_len()).f32, noise(seed + 2, shape.key_len()).f32);
        let run = |q: &[f32]| {
            let mut out = vec![f32::NAN; q.len()];
            let shape = AttentionShape { queries: q.len() / width, ..shape };
            attention(shape, q, &[KeyValues { keys: &k, values: &v }], 0.3, &all_keys(keys), &mut out, None);
            bits(&out)
        };
        let all = on_threads(threads, || at_each_level(|| run(&q)));
        prop_assert!(at_each_level(|| run(&q[row * width..][..width])) == all[row * width..][..width]);
    }

    #[test]
    fn of_the_pass_over_the_vocabulary((rows, row) in row_of(), threads in 1usize..=3, vocabulary in 1usize..3000, seed in 0u64..1000) {
        let logits: Vec<f32> = noise(seed, rows * vocabulary).f32.iter().map(|x| 4.0 * x).collect();
        let transform = Transform { top_p: if seed % 2 == 0 { 1.0 } else { 0.8 }, ..Transform::PLAIN };
        let request = |row: usize, key: usize| Request { row, key: Some(key as u64), held: Some(0), top: 3 };
        // Every number as its shortest decimal, which tells all bits.
        let run = |logits: &[f32], requests: &[Request]| {
            at_each_level(|| {
                let rows = reduce(logits, vocabulary, requests, &transform);
                rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>()
            })
        };
        let requests: Vec<_> = (0..rows).map(|row| request(row, row)).collect();
        let all = on_threads(threads, || run(&logits, &requests));
        let alone = run(&logits[row * vocabulary..][..vocabulary], &[request(0, row)]);
        prop_assert_eq!(&alone[0], &all[row]);
    }
}
