//! Prints the rate of attention beside candle's, and beside the peak of f32 products, all in the same run:
//! `cargo run --release -p lldm-models --example attention_rate`
//!
//! Operations are those of the products alone: two forward, seven with the backward pass. candle's way is matmul, softmax,
//! matmul, with the query heads of a group as rows of one product, and its fused softmax where no gradient is asked for;
//! `flash` is its CPU flash attention. Queries, keys and values lie as projections give them, [B, L, H, Dh]. Beside the
//! fastest run stands the mean per second of CPU time, which other programs on the machine disturb less (Linux alone).
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::attention::{AttnMask, flash_attn};
use lldm_kernels::{CpuFeatures, peak};
use lldm_models::nn::{Visibility, attend_cached};

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

type Run<'a> = &'a dyn Fn() -> Outcome<()>;

/// B, H, KV, Dh, canvas L and prefix P.
struct Case {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    canvas: usize,
    prefix: usize,
}

fn main() -> Outcome<()> {
    let threads = rayon::current_num_threads();
    let of_f32 = |peaks: Vec<peak::Peak>| {
        peaks.into_iter().filter(|peak| peak.dtype == "f32").map(|peak| peak.gops).fold(0.0, f64::max)
    };
    let peak = of_f32(peak::peaks(1, 0.5));
    println!("{}\n{threads} threads; f32 peak of one {peak:.0} GFLOP/s", CpuFeatures::detect());
    println!("{:<60} {:>14} {:>22}", "GFLOP/s (of the peak)", "fastest run", "per CPU second");
    for (batch, heads, kv_heads, head_dim, canvas, prefix) in [
        (1, 16, 8, 256, 256, 1024),
        (1, 16, 4, 256, 256, 1024),
        (1, 16, 2, 512, 256, 1024),
        (32, 4, 4, 64, 128, 0),
        (16, 6, 6, 64, 256, 0),
    ] {
        measure(&Case { batch, heads, kv_heads, head_dim, canvas, prefix }, peak)?;
    }
    Ok(())
}

fn measure(case: &Case, peak: f64) -> Outcome<()> {
    let Case { batch, heads, kv_heads, head_dim, canvas, prefix } = *case;
    let scale = (head_dim as f32).powf(-0.5);
    let query = values(1, (batch, canvas, heads, head_dim))?;
    let key = values(2, (batch, prefix + canvas, kv_heads, head_dim))?;
    let value = values(3, (batch, prefix + canvas, kv_heads, head_dim))?;
    let part = |t: &Tensor, start, length| t.narrow(1, start, length)?.contiguous();
    let cached = match prefix {
        0 => vec![],
        _ => vec![(part(&key, 0, prefix)?, part(&value, 0, prefix)?)],
    };
    let (new_key, new_value) = (part(&key, prefix, canvas)?, part(&value, prefix, canvas)?);
    let ours = || -> Outcome<_> { Ok(attend_cached(&query, &cached, &new_key, &new_value, Visibility::Full, scale)?) };
    let candle = || composed(&query, &key, &value, scale, candle_nn::ops::softmax_last_dim);
    let flash = || -> Outcome<_> {
        Ok(flash_attn::<f32>(&query, &key, &value, scale, AttnMask::None, None, None)?.transpose(1, 2)?)
    };
    let expected = candle()?;
    for (name, found) in [("ours", ours()?), ("flash", flash()?)] {
        let error = (found - &expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(error < 1e-4, "{name} differs from candle by {error}");
    }

    // Gradients to the queries and all keys, in one segment.
    let [q, k, v] = &[Var::from_tensor(&query)?, Var::from_tensor(&key)?, Var::from_tensor(&value)?];
    let ours_both =
        || -> Outcome<_> { Ok(attend_cached(q, &[], k, v, Visibility::Full, scale)?.sum_all()?.backward()?) };
    let candle_both = || -> Outcome<_> {
        Ok(composed(q, k, v, scale, |x| candle_nn::ops::softmax(x, D::Minus1))?.sum_all()?.backward()?)
    };

    let runs: [(&str, f64, Run<'_>); 5] = [
        ("forward, ours", 2.0, &|| ours().map(drop)),
        ("forward, candle", 2.0, &|| candle().map(drop)),
        ("forward, flash", 2.0, &|| flash().map(drop)),
        ("and backward, ours", 7.0, &|| ours_both().map(drop)),
        ("and backward, candle", 7.0, &|| candle_both().map(drop)),
    ];
    let product = 2e-9 * (batch * heads * canvas * (prefix + canvas) * head_dim) as f64;
    for ((name, products, _), [fastest, cpu]) in runs.iter().zip(times(runs.map(|(_, _, run)| run))?) {
        let shape = format!("[{batch} x {canvas} x {heads}:{kv_heads} x {head_dim}], prefix {prefix}");
        let [wall, cpu] = [fastest, cpu].map(|seconds| products * product / seconds);
        println!("{shape:<38} {name:<21} {wall:>14.0} {cpu:>14.0} ({:>4.0}%)", 100.0 * cpu / peak);
    }
    Ok(())
}

/// Attention of candle's own operations.
fn composed(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    scale: f32,
    softmax: impl Fn(&Tensor) -> Result<Tensor>,
) -> Outcome<Tensor> {
    let (batch, canvas, heads, head_dim) = query.dims4()?;
    let kv_heads = key.dim(2)?;
    let by_head = |t: &Tensor| t.transpose(1, 2)?.contiguous();
    let grouped = (batch, kv_heads, heads / kv_heads * canvas, head_dim);
    let (q, k, v) = (by_head(query)?.reshape(grouped)?, by_head(key)?, by_head(value)?);
    let scores = ((q * f64::from(scale))?.matmul(&k.t()?))?;
    let out = softmax(&scores)?.matmul(&v)?;
    Ok(out.reshape((batch, heads, canvas, head_dim))?.transpose(1, 2)?.contiguous()?)
}

/// The seconds of the fastest run of each, and the mean seconds of CPU time; in turns, at least three.
fn times<const N: usize>(runs: [Run<'_>; N]) -> Outcome<[[f64; 2]; N]> {
    let mut times = [[f64::INFINITY, 0.0]; N];
    let start = Instant::now();
    let mut turns = 0;
    while turns < 3 || start.elapsed() < Duration::from_secs(10) {
        for ([fastest, cpu], run) in times.iter_mut().zip(runs) {
            let (before, start) = (cpu_seconds()?, Instant::now());
            run()?;
            *fastest = fastest.min(start.elapsed().as_secs_f64());
            *cpu += cpu_seconds()? - before;
        }
        turns += 1;
    }
    Ok(times.map(|[fastest, cpu]| [fastest, cpu / turns as f64]))
}

/// The CPU time of this process in seconds, in steps of a hundredth.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the program's name in brackets: fields 3 and on; user and system time are 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse).collect::<std::result::Result<Vec<f64>, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn values(seed: usize, shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    let len = shape.0 * shape.1 * shape.2 * shape.3;
    let values: Vec<_> = (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}
