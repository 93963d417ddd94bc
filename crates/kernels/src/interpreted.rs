//! The unsafe code of the portable paths, on shapes that an interpreter can bear: `.ci/run` gives the tests named `miri_` to Miri,
//! where no instruction set is found and each dispatch takes the plain lanes.

use crate::aligned::{AlignedBytes, Bytes};
use crate::attention::{AttentionShape, KeyValues, all_keys, attention, attention_backward};
use crate::check::{assert_close, noise};
use crate::gemm::{Bf16Path, Kernel, Layout, pack_with, product_with};
use crate::quant::{Int8Path, PackedQuant, QuantFormat, random_blocks};
use crate::split_heads::SplitHeads;
use crate::vocab::{Classes, Request, Transform, class_summaries, reduce};

/// [`crate::check`]'s numbers, rounded to bf16 so that every product is exact.
fn rounded(seed: u64, len: usize) -> Vec<f32> {
    noise(seed, len).f32.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect()
}

fn product(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let term = |i: usize, j: usize, p: usize| f64::from(a[i * k + p]) * f64::from(b[p * n + j]);
    (0..m * n).map(|at| (0..k).map(|p| term(at / n, at % n, p)).sum()).collect()
}

#[test]
fn miri_nothing_but_the_portable_paths_is_found() {
    if cfg!(miri) {
        assert_eq!((crate::simd_level(), crate::int8_path()), ("portable", Int8Path::Portable));
        assert_eq!(crate::bf16_path(), crate::Bf16Path::Portable);
    }
}

/// Two tiles of rows and two panels of columns, of both the last not whole.
#[test]
fn miri_portable_bf16_products() {
    let shape @ [m, n, k] = [14, 35, 3];
    let (a, b) = (rounded(1, m * k), rounded(2, k * n));
    let mut out = vec![f32::NAN; m * n];
    product_with(Kernel::Portable, &a, Layout::row_major(m, k), &b, Layout::row_major(k, n), &mut out, false);
    assert_close(&out, &product(&a, &b, shape), 1e-6);
}

/// Two tiles of columns, of which the last is not whole. Products of emulated tiles are more than an interpreter can bear.
#[test]
fn miri_factors_are_packed_as_tiles() {
    let (k, n) = (3, 18);
    let b = rounded(3, k * n);
    let packed = pack_with(Bf16Path::AmxEmulation, &b, Layout::row_major(k, n));
    for column in 0..n {
        let mut found = vec![f32::NAN; k];
        packed.column(column, &mut found);
        assert!((0..k).all(|p| found[p] == b[p * n + column]), "{column}");
    }
}

#[test]
fn miri_quantised_products() {
    for (format, [m, n, k]) in [(QuantFormat::Q8_0, [2, 3, 64]), (QuantFormat::Q4_1, [1, 2, 32])] {
        let blocks = random_blocks(format, [n, k], 0.05, 1).expect("whole blocks");
        let packed = PackedQuant::pack(format, [n, k], &blocks).expect("whole blocks");
        let mut weights = vec![0.0; n * k];
        format.dequantize(&blocks, &mut weights).expect("whole blocks");
        let x = noise(3, m * k).f32;
        let mut out = vec![f32::NAN; m * n];
        crate::quant::product_with(Int8Path::Portable, &x, &packed, &mut out);
        let columns: Vec<f32> = (0..k * n).map(|at| weights[at % n * k + at / n]).collect();
        // Steps of 1/127 of at most 2, in 64 terms of about 0.05.
        assert_close(&out, &product(&x, &columns, [m, n, k]), 0.02);
    }
}

#[test]
fn miri_attention_forward_and_backward() {
    let shape = AttentionShape { batch: 1, heads: 2, kv_heads: 1, queries: 2, keys: 3, head_dim: 4 };
    let [q, dout] = [4, 5].map(|seed| noise(seed, shape.query_len()).f32);
    // Values of ones: the output is ones, and no probability has a gradient.
    let (k, v) = (noise(6, shape.key_len()).f32, vec![1.0; shape.key_len()]);
    let (mut out, mut lse) = (vec![f32::NAN; q.len()], vec![0.0; shape.lse_len()]);
    let segments = [KeyValues { keys: &k, values: &v }];
    attention(shape, &q, &segments, 0.5, &all_keys(3), &mut out, Some(&mut lse));
    assert_close(&out, &vec![1.0; q.len()], 1e-6);
    let [mut dq, mut dk, mut dv] = [q.len(), k.len(), v.len()].map(|len| vec![f32::NAN; len]);
    attention_backward(shape, &q, &segments, 0.5, &all_keys(3), &out, &lse, &dout, &mut dq, &mut dk, &mut dv);
    assert_close(&dq, &vec![0.0; q.len()], 1e-5);
    assert_close(&dk, &vec![0.0; k.len()], 1e-5);
    // All that comes goes to the values, by weights whose sum is one.
    let total = |values: &[f32]| values.iter().map(|x| f64::from(*x)).sum::<f64>();
    assert!((total(&dv) - total(&dout)).abs() < 1e-5);
}

#[test]
fn miri_the_pass_over_the_vocabulary() {
    let logits: Vec<f32> = (0..70).map(|at| if at == 66 { 3.0 } else { -(at as f32) * 0.01 }).collect();
    let request = Request { row: 0, key: Some(5), held: Some(1), top: 2 };
    for top_k in [0, 3] {
        let found = &reduce(&logits, 70, &[request], &Transform { top_k, ..Transform::PLAIN })[0];
        assert_eq!((found.best, found.second, found.top.len()), (66, Some(0), 2));
        assert!(found.token < 70 && found.probability > 0.0);
    }
    let of: Vec<u16> = (0..70).map(|token| token % 2).collect();
    let classes = class_summaries(&logits, 70, &[(0, 9)], Classes { of: &of, count: 2 }, &Transform::PLAIN);
    assert_eq!((classes[0][0].best, classes[0][1].best), (66, 1));
}

#[test]
fn miri_aligned_bytes() {
    for len in [0, 1, 65] {
        let mut bytes = AlignedBytes::zeroed(len);
        bytes.fill(7);
        let bytes = Bytes::from(bytes);
        assert!(bytes.len() == len && bytes.clone().iter().all(|byte| *byte == 7));
    }
}

#[test]
fn miri_heads_are_split_and_joined_again() {
    let (heads, head_dim, rows) = (2, 6, 3);
    let split = SplitHeads { heads, head_dim, norms: None, rotation: None };
    let joined = noise(7, rows * 3 * heads * head_dim).f32;
    let [mut q, mut k, mut v] = [(); 3].map(|()| vec![f32::NAN; rows * heads * head_dim]);
    split.forward(&joined, &mut q, &mut k, &mut v);
    assert_eq!(q[..heads * head_dim], joined[..heads * head_dim]);
    let mut back = joined.clone();
    split.backward(&mut back, [&q, &k, &v], &mut vec![0.0; 2 * head_dim]);
    assert_eq!(back, joined);
}
