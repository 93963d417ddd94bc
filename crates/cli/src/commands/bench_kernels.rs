//! `lldm bench kernels`: how near the kernels come to what this CPU can do, beside candle's own operations on the same shapes, in
//! the same run.
//!
//! Ours, candle's and the loop of the peak take turns, and each rate is the median of its turns. The peak is that of the instruction
//! that the path uses, in registers alone, on as many threads at once; for the portable int8 products the highest in f32, and for the
//! pass over the vocabulary reading the logits from memory once. A training step is set against the best that the loop has reached.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use lldm_kernels::QuantFormat;
use lldm_kernels::peak::read_rate;

use crate::kernel_bench::{KERNELS, LayerReport, ReadRow, Report, Row, Setting, diffusion_gemma};
use crate::machine::{self, Machine};
use crate::render::{json as json_output, plain};

/// Buffers whose reads are measured, in bytes: the first fits into a core's second cache, the last into none.
const READS: [usize; 3] = [512 << 10, 8 << 20, 512 << 20];
/// Where the numbers of threads of our pool and of candle's are set: both are read when the first work is done.
const THREADS: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// Threads at once [default: all that the program uses]
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds for each row
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Kernels whose names begin so, as in gemm_q4_k or experts [default: all]
    #[arg(long, value_name = "KERNEL", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure a step of a model, projected from one layer of its shape with random weights, instead of the kernels
    #[arg(long, value_name = "MODEL", conflicts_with = "only")]
    shape: Option<ModelShape>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// A model whose step can be projected.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ModelShape {
    /// DiffusionGemma 26B-A4B, 4-bit experts
    #[value(name = "diffusion_gemma")]
    DiffusionGemma,
}

/// Runs the command.
pub(crate) fn run(args: &KernelsArgs) -> Result<()> {
    let machine = Machine::detect()?;
    let threads = args.threads.unwrap_or(machine.threads);
    if threads == 0 || !(args.seconds > 0.0 && args.seconds.is_finite()) {
        bail!("--threads and --seconds must be above 0");
    }
    if let Some(unknown) = args.only.iter().find(|start| !known(start)) {
        let names: Vec<_> = KERNELS.iter().map(|(name, _)| *name).collect();
        bail!("there is no kernel `{unknown}`; names begin with {}", names.join(", "));
    }
    if args.threads.is_some() && threads != machine.threads {
        return Err(again_with(threads)).context("cannot start this program again with other threads");
    }
    let setting = Setting::new(threads, args.seconds, args.only.clone());
    // On a thread of the pool, where a model's pass runs: from outside, every product would wake a thread first.
    let (rows, layer) = rayon::scope(|_| measure(&setting, args.shape))?;
    let rate = |bytes| ReadRow { bytes, gigabytes_per_second: read_rate(bytes, threads, args.seconds.min(0.5)) };
    let reads = if args.only.is_empty() { READS.map(rate).to_vec() } else { Vec::new() };
    let peaks = setting.peaks.iter().map(Into::into).collect();
    let report = Report { date: machine::today(), machine, threads, peaks, reads, rows, layer };
    if args.json {
        return json_output::say(&report);
    }
    Ok(plain::say(&report.text())?)
}

/// The rows of the kernels that are wanted, or a model's projected step.
fn measure(setting: &Setting, shape: Option<ModelShape>) -> Result<(Vec<Row>, Option<LayerReport>)> {
    if let Some(ModelShape::DiffusionGemma) = shape {
        return Ok((Vec::new(), Some(diffusion_gemma(setting)?)));
    }
    let mut rows = Vec::new();
    for (_, measure) in KERNELS.iter().filter(|(name, _)| setting.wants_any(name)) {
        rows.extend(measure(setting)?);
    }
    Ok((rows, None))
}

/// Whether any kernel's name may begin so.
fn known(start: &str) -> bool {
    let formats = QuantFormat::ALL.map(|format| [format!("gemm_{format}"), format!("experts_{format}")]);
    let others = ["gemm_bf16", "gemm_int8", "attention", "vocabulary", "training_step"];
    let names = formats.iter().flatten().map(String::as_str).chain(others);
    !start.is_empty() && names.into_iter().any(|name| name.starts_with(start))
}

/// Becomes this very command with the numbers of threads set; returns only if that fails.
fn again_with(threads: usize) -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).envs(THREADS.map(|name| (name, threads.to_string())));
    #[cfg(unix)]
    return std::os::unix::process::CommandExt::exec(&mut again);
    #[cfg(not(unix))]
    match again.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}
