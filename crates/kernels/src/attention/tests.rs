//! Attention against a naive f64 version, its gradients against finite differences.

use std::ops::Range;

use super::*;
use crate::check::{assert_close, finite_difference, noise, on_threads};
use crate::simd::at_each_level;

const SCALE: f32 = 0.3;

fn naive(shape: &AttentionShape, q: &[f64], k: &[f64], v: &[f64], visible: &dyn VisibleKeys) -> Vec<f64> {
    let AttentionShape { batch, heads, queries, keys, head_dim } = *shape;
    let mut out = vec![0.0; shape.query_len()];
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..queries {
                let q_at = ((b * queries + i) * heads + h) * head_dim;
                let k_at = |j: usize| ((b * keys + j) * heads + h) * head_dim;
                let seen: Vec<usize> = visible.ranges(i).into_iter().flatten().collect();
                let exp: Vec<f64> = seen
                    .iter()
                    .map(|j| (0..head_dim).map(|d| q[q_at + d] * k[k_at(*j) + d]).sum::<f64>())
                    .map(|score| (f64::from(SCALE) * score).exp())
                    .collect();
                let sum: f64 = exp.iter().sum();
                for (j, e) in seen.iter().zip(&exp) {
                    for d in 0..head_dim {
                        out[q_at + d] += e / sum * v[k_at(*j) + d];
                    }
                }
            }
        }
    }
    out
}

/// Block-causal over two parts, with a query that sees nothing.
fn two_ranges(keys: usize) -> impl Fn(usize) -> [Range<usize>; 2] + Sync {
    move |query| {
        let first = (query / 4 * 3).min(keys / 2);
        let start = (keys / 2 + query % 5).min(keys);
        if query == 2 { [0..0, 0..0] } else { [0..first, start..keys] }
    }
}

fn shapes() -> Vec<AttentionShape> {
    [(1, 1, 1, 1, 1), (2, 3, 5, 9, 8), (1, 2, 50, 70, 32), (2, 1, 1, 130, 64), (1, 1, 29, 200, 20), (1, 2, 4, 3, 128)]
        .map(|(batch, heads, queries, keys, head_dim)| AttentionShape { batch, heads, queries, keys, head_dim })
        .into()
}

fn forward(shape: AttentionShape, x: [&[f32]; 3], visible: &dyn VisibleKeys) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut lse) = (vec![9.0; shape.query_len()], vec![9.0; shape.lse_len()]);
    attention(shape, x[0], x[1], x[2], SCALE, visible, &mut out, Some(&mut lse));
    (out, lse)
}

fn backward(shape: AttentionShape, x: [&[f32]; 3], g: &[f32], visible: &dyn VisibleKeys) -> [Vec<f32>; 3] {
    let (_, lse) = forward(shape, x, visible);
    let mut grads = x.map(|x| vec![9.0; x.len()]);
    let [dq, dk, dv] = &mut grads;
    attention_backward(shape, x[0], x[1], x[2], SCALE, visible, &lse, g, dq, dk, dv);
    grads
}

#[test]
fn forward_matches_f64() {
    for shape in shapes() {
        let (q, k, v) = (noise(1, shape.query_len()), noise(2, shape.key_len()), noise(3, shape.key_len()));
        let rules: [&dyn VisibleKeys; 2] = [&all_keys(shape.keys), &two_ranges(shape.keys)];
        for rule in rules {
            let (out, _) = at_each_level(|| forward(shape, [&q.f32, &k.f32, &v.f32], rule));
            assert_close(&out, &naive(&shape, &q.f64, &k.f64, &v.f64, rule), 1e-5);
            let mut without = vec![0.0; out.len()];
            attention(shape, &q.f32, &k.f32, &v.f32, SCALE, rule, &mut without, None);
            assert_eq!(out, without);
        }
    }
}

#[test]
fn backward_matches_finite_differences() {
    for (batch, heads, queries, keys, head_dim) in [(1, 1, 1, 1, 1), (2, 2, 5, 9, 3), (1, 1, 26, 40, 5)] {
        let shape = AttentionShape { batch, heads, queries, keys, head_dim };
        let (q, k, v) = (noise(1, shape.query_len()), noise(2, shape.key_len()), noise(3, shape.key_len()));
        let g = noise(4, shape.query_len());
        let rules: [&dyn VisibleKeys; 2] = [&all_keys(keys), &two_ranges(keys)];
        for rule in rules {
            let [dq, dk, dv] = at_each_level(|| backward(shape, [&q.f32, &k.f32, &v.f32], &g.f32, rule));
            let loss = |q: &[f64], k: &[f64], v: &[f64]| {
                naive(&shape, q, k, v, rule).iter().zip(&g.f64).map(|(a, b)| a * b).sum::<f64>()
            };
            assert_close(&dq, &finite_difference(&q.f64, |x| loss(x, &k.f64, &v.f64)), 2e-5);
            assert_close(&dk, &finite_difference(&k.f64, |x| loss(&q.f64, x, &v.f64)), 2e-5);
            assert_close(&dv, &finite_difference(&v.f64, |x| loss(&q.f64, &k.f64, x)), 2e-5);
        }
    }
}

#[test]
fn queries_do_not_depend_on_their_neighbours_or_on_threads() {
    let shape = AttentionShape { batch: 2, heads: 3, queries: 61, keys: 90, head_dim: 32 };
    let (q, k, v) = (noise(1, shape.query_len()), noise(2, shape.key_len()), noise(3, shape.key_len()));
    let g = noise(4, shape.query_len());
    let rule = two_ranges(shape.keys);
    let x: [&[f32]; 3] = [&q.f32, &k.f32, &v.f32];
    let run = || (forward(shape, x, &rule), backward(shape, x, &g.f32, &rule));
    let expected = on_threads(1, run);
    assert!(on_threads(3, run) == expected);
    let row = shape.heads * shape.head_dim;
    let one = AttentionShape { batch: 1, queries: 1, ..shape };
    for query in [0, 2, 23, 24, 60] {
        let at = query * row..(query + 1) * row;
        let keys = ..shape.key_len() / 2;
        let mine = |_: usize| rule(query);
        let (out, _) = forward(one, [&q.f32[at.clone()], &k.f32[keys], &v.f32[keys]], &mine);
        assert_eq!(out, expected.0.0[at]);
    }
}
