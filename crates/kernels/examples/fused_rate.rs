//! Prints the rates of the fused kernels: `cargo run --release -p lldm-kernels --example fused_rate`
#![allow(clippy::print_stdout)]

use std::time::Instant;

use lldm_kernels::{
    AttentionShape, CpuFeatures, CrossEntropy, KeyValues, all_keys, attention, attention_backward, rms_norm,
    rms_norm_backward, rope_in_place, rope_tables, swiglu, swiglu_backward,
};

fn main() {
    println!("{}\n{} threads; best of runs", CpuFeatures::detect(), rayon::current_num_threads());
    attentions();
    elementwise();
    cross_entropy();
}

/// GFLOP/s, counting two products forward and five backward.
fn attentions() {
    for (canvas, head_dim) in [(64, 64), (128, 32), (256, 64), (512, 64), (512, 128)] {
        let shape = AttentionShape { batch: 8, heads: 4, kv_heads: 4, queries: canvas, keys: canvas, head_dim };
        let [q, k, v] = [1, 2, 3].map(|seed| values(shape.query_len(), seed));
        let (mut out, mut lse) = (q.clone(), vec![0.0; shape.lse_len()]);
        let (rule, keys) = (all_keys(canvas), KeyValues { keys: &k, values: &v });
        let forward = seconds(|| attention(shape, &q, &[keys], 0.125, &rule, &mut out, Some(&mut lse)));
        let ([mut dq, mut dk, mut dv], g) = ([q.clone(), k.clone(), v.clone()], values(q.len(), 4));
        let backward = seconds(|| {
            attention_backward(shape, &q, &[keys], 0.125, &rule, &out, &lse, &g, &mut dq, &mut dk, &mut dv);
        });
        let work = 2e-9 * (shape.query_len() * canvas) as f64;
        let (forward, backward) = (2.0 * work / forward, 5.0 * work / backward);
        println!("attention B 8, H 4, L {canvas}, Dh {head_dim}: {forward:.0} forward, {backward:.0} backward GFLOP/s");
    }
}

/// Nanoseconds per value.
fn elementwise() {
    let (rows, width) = (4096, 256);
    let [x, y, g] = [1, 2, 3].map(|seed| values(rows * width, seed));
    let (mut out, mut other) = (x.clone(), x.clone());
    let weight = values(width, 4);
    let mut grad_weight = weight.clone();
    let (cos, sin) = rope_tables(256, 64, 10_000.0);
    let positions: Vec<usize> = (0..256).collect();
    let print = |name: &str, seconds: f64| println!("{name}: {:.3} ns per value", 1e9 * seconds / x.len() as f64);
    print("rms_norm", seconds(|| rms_norm(&x, &weight, 1e-5, &mut out)));
    print("rms_norm_backward", seconds(|| rms_norm_backward(&x, &weight, 1e-5, &g, &mut out, &mut grad_weight)));
    print("swiglu", seconds(|| swiglu(&x, &y, &mut out)));
    print("swiglu_backward", seconds(|| swiglu_backward(&x, &y, &g, &mut out, &mut other)));
    print("rope_in_place", seconds(|| rope_in_place(&mut other, 4, 64, &cos, &sin, &positions)));
}

/// Nanoseconds per logit.
fn cross_entropy() {
    let (rows, vocabulary) = (2048, 4096);
    let logits = values(rows * vocabulary, 1);
    let targets: Vec<u32> = (0..rows as u32).collect();
    let weights = vec![1.0; rows];
    let ce = CrossEntropy { logits: &logits, vocabulary, targets: &targets, weights: &weights, banned: Some(5) };
    let (mut row_loss, mut lse, mut grad) = (weights.clone(), weights.clone(), logits.clone());
    let print = |name: &str, seconds: f64| println!("{name}: {:.3} ns per logit", 1e9 * seconds / logits.len() as f64);
    print("cross_entropy forward", seconds(|| _ = ce.forward(&mut row_loss, &mut lse)));
    print("cross_entropy backward", seconds(|| ce.backward(&lse, 1.0, &mut grad)));
}

/// The best time of runs that fill half a second.
fn seconds(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.5 {
        let run = Instant::now();
        f();
        best = best.min(run.elapsed().as_secs_f64());
    }
    best
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect()
}
