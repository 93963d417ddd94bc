//! Prints the rate of the pass over the vocabulary, by what is asked of it:
//! `cargo run --release -p lldm-kernels --example vocab_rate [ROWS [V]]` (256 and 262144)
#![allow(clippy::print_stdout)]

use std::time::Instant;

use lldm_kernels::CpuFeatures;
use lldm_kernels::vocab::{Change, Classes, Request, Transform, class_summaries, log_probabilities, reduce, stream};

fn main() {
    let mut sizes = std::env::args().skip(1).map(|size| size.parse().expect("a number"));
    let (rows, vocabulary) = (sizes.next().unwrap_or(256), sizes.next().unwrap_or(262_144));
    println!(
        "{}\n{} threads; best of runs, {rows} x {vocabulary}",
        CpuFeatures::detect(),
        rayon::current_num_threads()
    );
    let logits: Vec<f32> = (0..rows * vocabulary).map(|i| normal(i as u64) * 2.5).collect();
    let print = |name: &str, seconds: f64| {
        let (ms, ns) = (1e3 * seconds, 1e9 * seconds / logits.len() as f64);
        println!("{name:44} {ms:8.2} ms  {ns:.3} ns per logit");
    };
    let argmax: Vec<_> = (0..rows).map(|row| Request { row, ..Request::default() }).collect();
    let draws: Vec<_> = argmax.iter().map(|request| Request { key: Some(request.row as u64), ..*request }).collect();
    let time = |name: &str, requests: &[Request], transform: Transform<'_>| {
        print(name, seconds(|| _ = reduce(&logits, vocabulary, requests, &transform)));
    };
    let plain = Transform::PLAIN;
    let sum = seconds(|| assert!(logits.iter().sum::<f32>() < f32::MAX));
    print("a plain sum (one thread, what is read)", sum);
    time("statistics", &argmax, plain);
    time("statistics, draw", &draws, plain);
    time("statistics, draw, T 0.7", &draws, Transform { temperature: 0.7, ..plain });
    time("statistics, draw, T 1.3", &draws, Transform { temperature: 1.3, ..plain });
    time("statistics, draw, soft cap", &draws, Transform { soft_cap: Some(30.0), ..plain });
    let changes: Vec<_> = (0..vocabulary as u32)
        .step_by(vocabulary.div_ceil(200))
        .map(|token| Change { token, banned: token % 2 == 0, penalised: true, bias: 0.0 })
        .collect();
    time("statistics, draw, 200 changed tokens", &draws, Transform { changes: &changes, penalty: 1.1, ..plain });
    time("statistics, draw, top-k 50", &draws, Transform { top_k: 50, ..plain });
    time("statistics, draw, top-p 0.9", &draws, Transform { top_p: 0.9, ..plain });
    let drawn = Transform { top_k: 50, top_p: 0.9, drawn_statistics: true, ..plain };
    time("top-k 50, top-p 0.9, statistics of what is left", &draws, drawn);
    let targets: Vec<_> = (0..rows).map(|row| (row, 7)).collect();
    print("log probabilities", seconds(|| _ = log_probabilities(&logits, vocabulary, &targets, &plain)));
    let keys: Vec<_> = (0..rows).map(|row| (row, row as u64)).collect();
    for count in [2, 100, 5000] {
        let of: Vec<_> = (0..vocabulary as u64).map(|token| (stream(1, token) % count as u64) as u16).collect();
        let classes = Classes { of: &of, count };
        let took = seconds(|| _ = class_summaries(&logits, vocabulary, &keys, classes, &plain));
        print(&format!("{count} classes"), took);
    }
}

/// About a standard normal.
fn normal(index: u64) -> f32 {
    let uniform = |turn: u64| stream(turn, index) as f64 * 2f64.powi(-64);
    ((0..4).map(uniform).sum::<f64>() - 2.0) as f32 * 1.732
}

/// The best time of at least three runs that fill half a second.
fn seconds(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let (mut best, mut runs) = (f64::INFINITY, 0);
    while runs < 3 || start.elapsed().as_secs_f64() < 0.5 {
        let run = Instant::now();
        f();
        best = best.min(run.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}
