//! The fused pass over the vocabulary beside the same statistics done with candle's operations, in turns in one run; beside
//! the float64 reference; and beside the product that makes the logits:
//! `cargo run --release -p lldm-models --example vocabulary_rate [ROWS [V [WIDTH]]]` (256, 262144 and 2816)
#![allow(clippy::print_stdout)]

use std::time::Instant;

use candle_core::{D, Device, Result, Tensor};
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::vocabulary::Draw;
use lldm_diffusion::{LogitTransform, Logits, Prediction};
use lldm_kernels::vocab::stream;
use lldm_kernels::{CpuFeatures, Layout, gemm_bf16_packed, pack_bf16};
use lldm_models::FusedLogits;

/// Turns; a rate is the median of them.
const TURNS: usize = 5;
/// Columns of the product that is timed.
const COLUMNS: usize = 16_384;

fn main() -> Result<()> {
    let mut sizes = std::env::args().skip(1).map(|size| size.parse().expect("a number"));
    let mut size = |default: usize| sizes.next().unwrap_or(default);
    let (rows, vocabulary, width) = (size(256), size(262_144), size(2816));
    println!("{}\n{} threads; medians of {TURNS} turns", CpuFeatures::detect(), rayon::current_num_threads());
    statistics(rows, vocabulary)?;
    one_row(vocabulary);
    product(rows, vocabulary, width);
    Ok(())
}

/// All rows, on all threads.
fn statistics(rows: usize, vocabulary: usize) -> Result<()> {
    let values: Vec<f32> = (0..rows * vocabulary).map(|i| normal(i as u64) * 2.5).collect();
    let tensor = Tensor::from_slice(&values, (rows, vocabulary), &Device::Cpu)?;
    let logits = FusedLogits::new(values, vocabulary).expect("whole rows");
    let plain = LogitTransform::default();
    let ask = |draw: fn(u64) -> Draw<'static>| -> Vec<_> {
        (0..rows).map(|row| RowRequest { row, draw: draw(row as u64), held: None }).collect()
    };
    let (best, drawn) = (ask(|_| Draw::Argmax), ask(Draw::Key));
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..TURNS {
        let (took, answer) = timed(|| candle_statistics(&tensor));
        let (argmax, entropy) = answer?;
        times[0].push(took);
        let (took, proposals) = timed(|| logits.propose(&best, &plain).expect("proposals"));
        times[1].push(took);
        for (row, proposal) in proposals.iter().enumerate() {
            assert_eq!(proposal.best, argmax[row], "another argmax than candle's");
            assert!((proposal.entropy - f64::from(entropy[row])).abs() < 1e-2, "another entropy than candle's");
        }
        times[2].push(timed(|| logits.propose(&drawn, &plain).expect("proposals")).0);
    }
    let [candle, fused, with_draw] = times.map(median);
    println!("{rows} x {vocabulary} logits:");
    println!("  candle: softmax, argmax, entropy     {:9.1} ms", 1e3 * candle);
    for (name, took) in [("argmax, margin, entropy", fused), ("the same and an exact draw", with_draw)] {
        println!("  fused: {name:29} {:9.1} ms, {:.1} times as fast", 1e3 * took, candle / took);
    }
    Ok(())
}

/// One row on one thread, against the float64 reference; the best of runs in turns.
fn one_row(vocabulary: usize) {
    let values: Vec<f32> = (0..vocabulary).map(|i| normal(i as u64) * 2.5).collect();
    let fused = FusedLogits::new(values.clone(), vocabulary).expect("whole rows");
    let reference = Logits::new(values, vocabulary).expect("whole rows");
    let run = |name: &str, run: &dyn Fn(&dyn Prediction)| {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..20 {
            for (best, prediction) in best.iter_mut().zip([&fused as &dyn Prediction, &reference]) {
                *best = best.min(timed(|| run(prediction)).0);
            }
        }
        let [fused, reference] = best;
        let ratio = reference / fused;
        println!("  {name:36} {:9.3} ms, {ratio:.1} times as fast as the float64 reference", 1e3 * fused);
    };
    println!("one row, one thread:");
    let request = RowRequest { row: 0, draw: Draw::Key(1), held: Some(0) };
    let plain = LogitTransform::default();
    let settings = [
        ("draw", plain.clone()),
        ("draw at temperature 0.7", LogitTransform { temperature: 0.7, ..plain.clone() }),
        ("draw from the top 50", LogitTransform { top_k: 50, ..plain.clone() }),
        ("draw from the top 0.9 of probability", LogitTransform { top_p: 0.9, ..plain.clone() }),
    ];
    for (name, transform) in settings {
        run(name, &|prediction| _ = prediction.propose(&[request], &transform));
    }
    run("log probability", &|prediction| _ = prediction.log_probabilities(&[(0, 1)], &plain));
    for classes in [2, 100, 5000] {
        let class_of: Vec<u16> = (0..vocabulary as u64).map(|token| (stream(1, token) % classes) as u16).collect();
        run(&format!("{classes} classes, each with a draw"), &|prediction| {
            _ = prediction.class_stats(&class_of, classes as usize, &[(0, 1)], &plain);
        });
    }
}

/// The argmax and the entropy of each row.
fn candle_statistics(logits: &Tensor) -> Result<(Vec<u32>, Vec<f32>)> {
    let weights = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
    let p = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let entropy = (&p * p.log()?)?.sum(D::Minus1)?.neg()?;
    Ok((logits.argmax(D::Minus1)?.to_vec1()?, entropy.to_vec1()?))
}

/// The product that makes the logits, from a part of its columns.
fn product(rows: usize, vocabulary: usize, width: usize) {
    let values = |length: usize| (0..length).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect::<Vec<f32>>();
    let columns = COLUMNS.min(vocabulary);
    let packed = pack_bf16(&values(columns * width), Layout::row_major(columns, width).transposed());
    let (hidden, mut out) = (values(rows * width), vec![0.0; rows * columns]);
    let times =
        (0..TURNS).map(|_| timed(|| gemm_bf16_packed(&hidden, Layout::row_major(rows, width), &packed, &mut out)).0);
    let took = median(times.collect());
    let (rate, all) = (2e-9 * (rows * width * columns) as f64 / took, took * vocabulary as f64 / columns as f64);
    println!(
        "{rows} x {width} x {columns} in bf16: {rate:.0} GFLOP/s, {:.1} ms for all {vocabulary} columns",
        1e3 * all
    );
}

fn timed<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let answer = run();
    (start.elapsed().as_secs_f64(), answer)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// About a standard normal.
fn normal(index: u64) -> f32 {
    let uniform = |turn: u64| stream(turn, index) as f64 * 2f64.powi(-64);
    ((0..4).map(uniform).sum::<f64>() - 2.0) as f32 * 1.732
}
