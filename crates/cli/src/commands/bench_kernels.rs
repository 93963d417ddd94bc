//! `lldm bench kernels`: how near the matrix products come to what this CPU can do, beside candle's own on the same shapes, in
//! the same run.
//!
//! Ours and candle's take turns, and each rate is the median of its turns. The peak is that of the instruction that the path
//! uses, in registers alone, on as many threads at once.

use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use clap::Args;
use lldm_kernels::peak::{Peak, peaks, read_rate};
use lldm_kernels::{Kernel, Layout, gemm_bf16_packed, pack_bf16, selected_kernel};
use serde::Serialize;

use crate::machine::{self, Machine};
use crate::render::{json as json_output, plain};

/// Rows x inner x columns: the default model's layers, those of larger models, and few rows.
const SHAPES: [[usize; 3]; 7] = [
    [64, 256, 1024],
    [64, 1024, 256],
    [64, 256, 4096],
    [256, 2816, 2112],
    [256, 2048, 8192],
    [16, 2048, 2048],
    [1, 2048, 2048],
];
/// Buffers whose reads are measured, in bytes: the first fits into a core's second cache, the last into none.
const READS: [usize; 3] = [512 << 10, 8 << 20, 512 << 20];

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// Threads at once [default: all that the program uses]
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds for each shape
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// One shape under one kernel, as measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    kernel: &'static str,
    /// The path that ran.
    path: String,
    dtype: &'static str,
    /// Rows, inner, columns.
    shape: [usize; 3],
    threads: usize,
    gflops: f64,
    /// The instruction whose peak it is set against, and that peak.
    instruction: &'static str,
    peak_gflops: f64,
    peak_ratio: f64,
    /// candle's product of bf16 tensors, and of f32 ones.
    candle_gflops: f64,
    candle_ratio: f64,
    candle_f32_gflops: f64,
}

/// A whole measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Report {
    date: String,
    machine: Machine,
    peaks: Vec<PeakRow>,
    reads: Vec<ReadRow>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct PeakRow {
    instruction: &'static str,
    dtype: &'static str,
    gops: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct ReadRow {
    bytes: usize,
    gigabytes_per_second: f64,
}

/// Runs the command.
pub(crate) fn run(args: &KernelsArgs) -> Result<()> {
    let machine = Machine::detect()?;
    let threads = args.threads.unwrap_or(machine.threads);
    if threads == 0 || !(args.seconds > 0.0 && args.seconds.is_finite()) {
        bail!("--threads and --seconds must be above 0");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    plain::note(&format!("measuring what {threads} threads can reach"));
    let peaks = peaks(threads, args.seconds.min(1.0));
    let reads =
        READS.map(|bytes| ReadRow { bytes, gigabytes_per_second: read_rate(bytes, threads, args.seconds.min(1.0)) });
    let path = selected_kernel()?;
    let mut rows = Vec::new();
    for shape in SHAPES {
        plain::note(&format!("measuring {}", shape_name(shape)));
        let [own, bf16, f32] = pool.install(|| products(shape, args.seconds))?;
        let peak = reference(&peaks, path);
        rows.push(Row {
            kernel: "gemm_bf16_packed",
            path: path.to_string(),
            dtype: "bf16",
            shape,
            threads,
            gflops: own,
            instruction: peak.instruction,
            peak_gflops: peak.gops,
            peak_ratio: own / peak.gops,
            candle_gflops: bf16,
            candle_ratio: own / bf16,
            candle_f32_gflops: f32,
        });
    }
    let peaks = peaks.iter().map(|Peak { instruction, dtype, gops }| PeakRow { instruction, dtype, gops: *gops });
    let report = Report { date: machine::today(), machine, peaks: peaks.collect(), reads: reads.to_vec(), rows };
    if args.json {
        return json_output::say(&report);
    }
    Ok(plain::say(&report.text(threads))?)
}

/// The peak of the instruction that a path uses, else the highest there is for its type.
fn reference(peaks: &[Peak], path: Kernel) -> Peak {
    let wanted = match path {
        Kernel::Avx512 => "bf16",
        Kernel::Portable => "f32",
    };
    let fits = peaks.iter().filter(|peak| peak.dtype == wanted);
    fits.copied().max_by(|a, b| a.gops.total_cmp(&b.gops)).unwrap_or(Peak {
        instruction: "none",
        dtype: "f32",
        gops: f64::NAN,
    })
}

/// GFLOP/s of our product, of candle's in bf16 and of candle's in f32.
fn products(shape: [usize; 3], seconds: f64) -> Result<[f64; 3]> {
    let [m, k, n] = shape;
    let values = |length: usize| (0..length).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect::<Vec<f32>>();
    let (x, weight) = (values(m * k), values(n * k));
    let packed = pack_bf16(&weight, Layout::row_major(n, k).transposed());
    let mut out = vec![0.0; m * n];
    let device = &Device::Cpu;
    let a = Tensor::from_slice(&x, (m, k), device)?;
    let b = Tensor::from_slice(&weight, (n, k), device)?;
    let (a16, b16) = (a.to_dtype(DType::BF16)?, b.to_dtype(DType::BF16)?);
    let (b, b16) = (b.t()?, b16.t()?);
    let mut times: [Vec<f64>; 3] = Default::default();
    let start = Instant::now();
    while times[0].len() < 3 || start.elapsed().as_secs_f64() < seconds {
        times[0].push(timed(|| {
            gemm_bf16_packed(&x, Layout::row_major(m, k), &packed, &mut out);
            Ok::<_, candle_core::Error>(())
        })?);
        times[1].push(timed(|| a16.matmul(&b16))?);
        times[2].push(timed(|| a.matmul(&b))?);
    }
    let work = 2e-9 * (m * k * n) as f64;
    Ok(times.map(|times| work / median(times)))
}

fn timed<T>(run: impl FnOnce() -> candle_core::Result<T>) -> Result<f64> {
    let start = Instant::now();
    let _ = run()?;
    Ok(start.elapsed().as_secs_f64().max(1e-9))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn shape_name([m, k, n]: [usize; 3]) -> String {
    format!("{m} x {k} x {n}")
}

impl Report {
    fn text(&self, threads: usize) -> String {
        let peaks: Vec<_> = self
            .peaks
            .iter()
            .map(|peak| vec![peak.instruction.to_string(), peak.dtype.to_string(), format!("{:.0}", peak.gops)])
            .collect();
        let reads: Vec<_> = self
            .reads
            .iter()
            .map(|read| vec![format!("{} KiB", read.bytes >> 10), format!("{:.0}", read.gigabytes_per_second)])
            .collect();
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                vec![
                    row.kernel.to_string(),
                    row.path.clone(),
                    shape_name(row.shape),
                    format!("{:.0}", row.gflops),
                    format!("{:.0}%", 100.0 * row.peak_ratio),
                    format!("{:.0}", row.candle_gflops),
                    format!("{:.1}x", row.candle_ratio),
                    format!("{:.0}", row.candle_f32_gflops),
                ]
            })
            .collect();
        let Machine { cpu, kernel, .. } = &self.machine;
        [
            plain::table(&["INSTRUCTION", "TYPE", "GOP/S"], &peaks),
            plain::table(&["READ A THREAD", "GB/S"], &reads),
            plain::table(
                &["KERNEL", "PATH", "SHAPE", "GFLOP/S", "OF PEAK", "CANDLE BF16", "RATIO", "CANDLE F32"],
                &rows,
            ),
            format!(
                "{}, {cpu}, {threads} threads, kernel {kernel}; rows x inner x columns, weights packed before; medians, ours and \
                 candle's in turn",
                self.date
            ),
        ]
        .join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_set_against_its_own_instruction() {
        let peak = |instruction, dtype, gops| Peak { instruction, dtype, gops };
        let peaks = [peak("ymm", "f32", 100.0), peak("zmm", "f32", 200.0), peak("dp", "bf16", 400.0)];
        assert_eq!(reference(&peaks, Kernel::Avx512).instruction, "dp");
        assert_eq!(reference(&peaks, Kernel::Portable).instruction, "zmm");
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
