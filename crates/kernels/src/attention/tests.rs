//! Attention against a naive f64 version, its gradients against finite differences.

use std::ops::Range;

use super::*;
use crate::check::{Noise, assert_close, finite_difference, noise, on_threads};
use crate::simd::at_each_level;

const SCALE: f32 = 0.3;

fn naive(shape: &AttentionShape, [q, k, v]: [&[f64]; 3], scale: f32, visible: &dyn VisibleKeys) -> Vec<f64> {
    let AttentionShape { batch, heads, kv_heads, queries, keys, head_dim } = *shape;
    let mut out = vec![0.0; shape.query_len()];
    for b in 0..batch {
        for h in 0..heads {
            for i in 0..queries {
                let q_at = ((b * queries + i) * heads + h) * head_dim;
                let k_at = |j: usize| ((b * keys + j) * kv_heads + h * kv_heads / heads) * head_dim;
                let seen: Vec<usize> = visible.ranges(i).into_iter().flatten().collect();
                let score = |j: &usize| (0..head_dim).map(|d| q[q_at + d] * k[k_at(*j) + d]).sum::<f64>();
                let scores: Vec<f64> = seen.iter().map(|j| f64::from(scale) * score(j)).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let exp: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
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

/// A window that moves over the keys, so that a query skips whole blocks of them.
fn window(shape: AttentionShape) -> impl Fn(usize) -> [Range<usize>; 2] + Sync {
    move |query| {
        let end = (query + 1) * shape.keys / shape.queries;
        [end.saturating_sub(shape.keys / 4 + 1)..end, 0..0]
    }
}

/// B, H, KV, Lq, Lk, Dh: every divisor of the heads, ragged head sizes, several blocks of keys and several tiles of rows.
fn shapes() -> Vec<AttentionShape> {
    [
        (1, 1, 1, 1, 1, 1),
        (2, 3, 3, 5, 9, 8),
        (1, 4, 2, 50, 70, 32),
        (2, 4, 1, 1, 130, 64),
        (1, 6, 2, 29, 800, 20),
        (1, 2, 1, 4, 3, 128),
        (1, 1, 1, 3, 900, 72),
        (1, 6, 1, 13, 40, 16),
        (1, 2, 2, 40, 210, 256),
        (1, 2, 1, 9, 400, 512),
    ]
    .map(|(batch, heads, kv_heads, queries, keys, head_dim)| AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
    })
    .into()
}

fn inputs(shape: &AttentionShape) -> [Noise; 3] {
    [noise(1, shape.query_len()), noise(2, shape.key_len()), noise(3, shape.key_len())]
}

struct Found {
    out: Vec<f32>,
    lse: Vec<f32>,
}

fn forward(shape: AttentionShape, q: &[f32], segments: &[KeyValues<'_>], visible: &dyn VisibleKeys) -> Found {
    let (mut out, mut lse) = (vec![9.0; shape.query_len()], vec![9.0; shape.lse_len()]);
    attention(shape, q, segments, SCALE, visible, &mut out, Some(&mut lse));
    Found { out, lse }
}

fn backward(
    shape: AttentionShape,
    q: &[f32],
    segments: &[KeyValues<'_>],
    g: &[f32],
    visible: &dyn VisibleKeys,
) -> [Vec<f32>; 3] {
    let Found { out, lse } = forward(shape, q, segments, visible);
    let last = segments.last().map_or(0, |last| last.keys.len());
    let [mut dq, mut dk, mut dv] = [q.len(), last, last].map(|len| vec![9.0; len]);
    attention_backward(shape, q, segments, SCALE, visible, &out, &lse, g, &mut dq, &mut dk, &mut dv);
    [dq, dk, dv]
}

fn one<'a>([_, k, v]: &'a [Noise; 3]) -> [KeyValues<'a>; 1] {
    [KeyValues { keys: &k.f32, values: &v.f32 }]
}

/// The keys `range` of a batch row, for a shape with one.
fn part<'a>(shape: &AttentionShape, x: &'a [Noise; 3], range: Range<usize>) -> KeyValues<'a> {
    let per_key = shape.kv_heads * shape.head_dim;
    let at = range.start * per_key..range.end * per_key;
    KeyValues { keys: &x[1].f32[at.clone()], values: &x[2].f32[at] }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn forward_matches_f64() {
    for shape in shapes() {
        let x = inputs(&shape);
        let wide = x.each_ref().map(|x| x.f64.as_slice());
        let rules: [&dyn VisibleKeys; 3] = [&all_keys(shape.keys), &two_ranges(shape.keys), &window(shape)];
        for rule in rules {
            let out = at_each_level(|| forward(shape, &x[0].f32, &one(&x), rule).out);
            assert_close(&out, &naive(&shape, wide, SCALE, rule), 1e-5);
            let mut without = vec![0.0; out.len()];
            attention(shape, &x[0].f32, &one(&x), SCALE, rule, &mut without, None);
            assert_eq!(out, without);
        }
    }
}

#[test]
fn the_log_sum_exp_is_that_of_the_seen_scores() {
    let shape = AttentionShape { batch: 1, heads: 2, kv_heads: 1, queries: 4, keys: 500, head_dim: 3 };
    let x = inputs(&shape);
    let rule = two_ranges(shape.keys);
    let found = forward(shape, &x[0].f32, &one(&x), &rule).lse;
    for (at, found) in found.iter().enumerate() {
        let (head, query) = (at / 4, at % 4);
        let q = &x[0].f64[(query * 2 + head) * 3..][..3];
        let score = |key: usize| (0..3).map(|d| q[d] * x[1].f64[key * 3 + d]).sum::<f64>() * f64::from(SCALE);
        let sum: f64 = rule(query).into_iter().flatten().map(|key| score(key).exp()).sum();
        // A row without keys has the logarithm of zero.
        assert!(
            (f64::from(*found) - sum.ln()).abs() < 1e-5 || f64::from(*found) == sum.ln(),
            "{found} is not {}",
            sum.ln()
        );
    }
}

/// Scores that grow from block to block, far beyond what `exp` holds, and scores that fall.
#[test]
fn scores_may_grow_and_fall_over_the_blocks() {
    let shape = AttentionShape { batch: 1, heads: 1, kv_heads: 1, queries: 2, keys: 1600, head_dim: 2 };
    let mut x = inputs(&shape);
    x[0] = Noise { f32: vec![1.0, 0.0, -1.0, 0.0], f64: vec![1.0, 0.0, -1.0, 0.0] };
    for key in 0..shape.keys {
        x[1].f32[2 * key] += key as f32;
        x[1].f64[2 * key] = f64::from(x[1].f32[2 * key]);
    }
    let rule = all_keys(shape.keys);
    let found = forward(shape, &x[0].f32, &one(&x), &rule);
    let wide = x.each_ref().map(|x| x.f64.as_slice());
    // Scores near 480 have steps of 3e-5 in f32.
    assert_close(&found.out, &naive(&shape, wide, SCALE, &rule), 1e-4);
    assert!(found.lse[0] > 470.0 && found.lse[1].abs() < 10.0);
}

#[test]
fn backward_matches_finite_differences() {
    for (batch, heads, kv_heads, queries, keys, head_dim) in [
        (1, 1, 1, 1, 1, 1),
        (2, 2, 2, 5, 9, 3),
        (1, 4, 2, 7, 9, 3),
        (2, 6, 1, 3, 5, 17),
        (1, 1, 1, 70, 40, 5),
        (1, 2, 1, 40, 70, 4),
    ] {
        let shape = AttentionShape { batch, heads, kv_heads, queries, keys, head_dim };
        let x = inputs(&shape);
        let g = noise(4, shape.query_len());
        let rules: [&dyn VisibleKeys; 3] = [&all_keys(keys), &two_ranges(keys), &window(shape)];
        for rule in rules {
            let found = at_each_level(|| backward(shape, &x[0].f32, &one(&x), &g.f32, rule));
            for (input, found) in found.iter().enumerate() {
                let loss = |moved: &[f64]| {
                    let mut wide = x.each_ref().map(|x| x.f64.as_slice());
                    wide[input] = moved;
                    naive(&shape, wide, SCALE, rule).iter().zip(&g.f64).map(|(a, b)| a * b).sum::<f64>()
                };
                assert_close(found, &finite_difference(&x[input].f64, loss), 2e-5);
            }
        }
    }
}

/// Where finite differences would take too long: the gradient along one direction, against the f64 function itself.
#[test]
fn backward_matches_differences_along_a_line() {
    for shape in shapes() {
        let x = inputs(&shape);
        let g = noise(4, shape.query_len());
        let rules: [&dyn VisibleKeys; 3] = [&all_keys(shape.keys), &two_ranges(shape.keys), &window(shape)];
        for rule in rules {
            let found = at_each_level(|| backward(shape, &x[0].f32, &one(&x), &g.f32, rule));
            for (input, found) in found.iter().enumerate() {
                let direction = noise(7, found.len());
                let moved = |by: f64| {
                    let moved: Vec<f64> = x[input].f64.iter().zip(&direction.f64).map(|(x, d)| x + by * d).collect();
                    let mut wide = x.each_ref().map(|x| x.f64.as_slice());
                    wide[input] = &moved;
                    naive(&shape, wide, SCALE, rule).iter().zip(&g.f64).map(|(a, b)| a * b).sum::<f64>()
                };
                let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let terms = found.iter().zip(&direction.f64).map(|(slope, d)| f64::from(*slope) * d);
                let (slope, size) = (terms.clone().sum::<f64>(), terms.map(f64::abs).sum::<f64>());
                // f32 sums of up to 900 terms beside the steps of the differences; dP - δ cancels sums of Dh products.
                let bound = 2e-5 * (1.0 + size) + 1e-6 * shape.head_dim as f64;
                assert!((slope - expected).abs() < bound, "{shape:?}, input {input}: {slope} is not {expected}");
            }
        }
    }
}

#[test]
fn segments_give_the_bits_of_their_concatenation() {
    for shape in shapes().into_iter().filter(|shape| shape.batch == 1) {
        let x = inputs(&shape);
        let g = noise(4, shape.query_len());
        let rules: [&dyn VisibleKeys; 2] = [&two_ranges(shape.keys), &window(shape)];
        for rule in rules {
            let whole = forward(shape, &x[0].f32, &one(&x), rule);
            let [dq, dk, dv] = backward(shape, &x[0].f32, &one(&x), &g.f32, rule);
            for cuts in [vec![shape.keys / 3], vec![0, shape.keys / 2, shape.keys / 2 + 1], vec![shape.keys]] {
                let ends = cuts.iter().copied().chain([shape.keys]);
                let starts = [0].into_iter().chain(cuts.iter().copied());
                let segments: Vec<_> =
                    starts.zip(ends).map(|(start, end)| part(&shape, &x, start..end.max(start))).collect();
                let found = forward(shape, &x[0].f32, &segments, rule);
                assert_eq!(bits(&found.out), bits(&whole.out), "{shape:?} cut at {cuts:?}");
                assert_eq!(bits(&found.lse), bits(&whole.lse), "{shape:?} cut at {cuts:?}");
                let grads = backward(shape, &x[0].f32, &segments, &g.f32, rule);
                let from = dk.len() - segments[segments.len() - 1].keys.len();
                assert_eq!(bits(&grads[0]), bits(&dq), "{shape:?} cut at {cuts:?}");
                assert_eq!(bits(&grads[1]), bits(&dk[from..]), "{shape:?} cut at {cuts:?}");
                assert_eq!(bits(&grads[2]), bits(&dv[from..]), "{shape:?} cut at {cuts:?}");
            }
        }
    }
}

/// A batch of two with a prefix: the second row's keys do not lie behind the first row's.
#[test]
fn segments_of_a_batch() {
    let shape = AttentionShape { batch: 2, heads: 2, kv_heads: 1, queries: 3, keys: 9, head_dim: 4 };
    let x = inputs(&shape);
    let cut = |x: &[f32], from: usize, to: usize| [&x[from * 4..to * 4], &x[(9 + from) * 4..(9 + to) * 4]].concat();
    let cuts = [(0, 4), (4, 9)].map(|(from, to)| [cut(&x[1].f32, from, to), cut(&x[2].f32, from, to)]);
    let segments = cuts.each_ref().map(|[keys, values]| KeyValues { keys, values });
    let rule = all_keys(9);
    let found = forward(shape, &x[0].f32, &segments, &rule);
    assert_eq!(bits(&found.out), bits(&forward(shape, &x[0].f32, &one(&x), &rule).out));
}

#[test]
fn queries_depend_neither_on_their_neighbours_nor_on_threads() {
    let shape = AttentionShape { batch: 2, heads: 6, kv_heads: 2, queries: 61, keys: 800, head_dim: 32 };
    let x = inputs(&shape);
    let g = noise(4, shape.query_len());
    let row = shape.heads * shape.head_dim;
    let rules: [&dyn VisibleKeys; 2] = [&two_ranges(shape.keys), &window(shape)];
    for rule in rules {
        let run = || {
            let Found { out, lse } = forward(shape, &x[0].f32, &one(&x), rule);
            let grads = backward(shape, &x[0].f32, &one(&x), &g.f32, rule);
            [out, lse].iter().chain(&grads).map(|values| bits(values)).collect::<Vec<_>>()
        };
        let expected = on_threads(1, run);
        for threads in [2, 3, 7, 64] {
            assert!(on_threads(threads, run) == expected, "{threads} threads");
        }
        let alone = AttentionShape { batch: 1, queries: 1, ..shape };
        for query in [0, 2, 23, 24, 60] {
            let at = query * row..(query + 1) * row;
            let keys = part(&shape, &x, 0..shape.keys);
            let mine = |_: usize| rule.ranges(query);
            let found = forward(alone, &x[0].f32[at.clone()], &[keys], &mine);
            assert_eq!(bits(&found.out), expected[0][at.clone()]);
            let grads = backward(alone, &x[0].f32[at.clone()], &[keys], &g.f32[at.clone()], &mine);
            assert_eq!(bits(&grads[0]), expected[2][at]);
        }
    }
}

/// What is cached need not be there: keys behind all that a query sees do not change its bits.
#[test]
fn keys_behind_do_not_matter() {
    let shape = AttentionShape { batch: 1, heads: 4, kv_heads: 2, queries: 20, keys: 900, head_dim: 24 };
    let x = inputs(&shape);
    let rule = |query: usize| [0..760 + query, 0..0];
    let all = forward(shape, &x[0].f32, &one(&x), &rule);
    let fewer = AttentionShape { keys: 779, ..shape };
    let found = forward(fewer, &x[0].f32, &[part(&shape, &x, 0..779)], &rule);
    assert_eq!(bits(&found.out), bits(&all.out));
    assert_eq!(bits(&found.lse), bits(&all.lse));
}
