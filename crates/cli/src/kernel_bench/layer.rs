//! A denoising step of DiffusionGemma 26B-A4B, projected from one layer of its real shape with random weights, beside the roofline.
//!
//! Sizes are those of the published config.json: width 2816, 16 heads of 256 over 8 of keys, dense path
//! 2112, 128 experts of 704, 8 a token, vocabulary 262,144, canvas 256 behind a cached prefix of 1,023. Attention and dense weights
//! are Q8_0, experts 4 bits (704 columns are no whole K-quant blocks: the down projections are Q4_0). The roofline is, part by part,
//! the longer of its operations at the measured peak and its weights' bytes at the measured bandwidth. Left out: the five of the 30
//! layers that see all of a long context (each is taken for a sliding one), self-conditioning, the norms and rotations of heads,
//! and what is added to the residual stream.

use anyhow::{Context, Result};
use lldm_eval::median;
use lldm_kernels::moe::{ExpertWeights, Experts, Routes};
use lldm_kernels::peak::read_rate;
use lldm_kernels::quant::random_blocks;
use lldm_kernels::vocab::{Request, Transform, reduce};
use lldm_kernels::{
    AttentionShape, Gate, KeyValues, PackedQuant, QuantFormat, all_keys, attention, gated, gemm_quant, rms_norm, route,
};
use serde::Serialize;

use super::quantised::peak_type;
use super::setting::{Run, Setting, values};
use crate::render::plain;

const CANVAS: usize = 256;
const PREFIX: usize = 1023;
const WIDTH: usize = 2816;
const LAYERS: usize = 30;
const EXPERTS: usize = 128;
const CHOICES: usize = 8;
const EXPERT_INNER: usize = 704;
const DENSE_INNER: usize = 2112;
const VOCABULARY: usize = 262_144;
const ATTENTION: AttentionShape =
    AttentionShape { batch: 1, heads: 16, kv_heads: 8, queries: CANVAS, keys: PREFIX + CANVAS, head_dim: 256 };

/// A part of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Part {
    name: &'static str,
    /// How often a step does it.
    times: usize,
    ms: f64,
    gflops: f64,
    roofline_ms: f64,
}

/// The parts and their sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LayerReport {
    model: &'static str,
    canvas: usize,
    prefix: usize,
    parts: Vec<Part>,
    step_ms: f64,
    roofline_ms: f64,
    roofline_ratio: f64,
    gigabytes_per_second: f64,
}

/// What is known of a part before it is timed.
struct Work {
    name: &'static str,
    times: usize,
    operations: f64,
    bytes: f64,
    dtype: &'static str,
}

/// Measures the layer and the vocabulary.
pub(crate) fn diffusion_gemma(setting: &Setting) -> Result<LayerReport> {
    let gigabytes = read_rate(512 << 20, setting.threads, setting.seconds.min(0.5));
    let mut parts = Vec::new();
    let mut add = |work: Work, run: Run<'_>| -> Result<()> {
        plain::note(&format!("measuring {}", work.name));
        let seconds = median(setting.in_turn(&mut [run])?);
        let roofline = (work.operations / setting.peak(work.dtype).gops).max(work.bytes / gigabytes) * 1e-9;
        parts.push(Part {
            name: work.name,
            times: work.times,
            ms: 1e3 * seconds,
            gflops: work.operations / seconds * 1e-9,
            roofline_ms: 1e3 * roofline,
        });
        Ok(())
    };
    let x = values(CANVAS * WIDTH);
    let joined = ATTENTION.heads * ATTENTION.head_dim;
    let key_width = ATTENTION.kv_heads * ATTENTION.head_dim;

    let projections = [[joined, WIDTH], [key_width, WIDTH], [key_width, WIDTH], [WIDTH, joined]];
    let packed = matrices(QuantFormat::Q8_0, &projections)?;
    let inner = values(CANVAS * joined);
    let mut out = vec![0.0; CANVAS * joined];
    add(work("attention projections", LAYERS, &packed, CANVAS), &mut || {
        for (weights, x) in packed.iter().zip([&x, &x, &x, &inner]) {
            gemm_quant(x, weights, &mut out[..CANVAS * weights.outputs()]);
        }
        Ok(())
    })?;

    let [old, new] = [PREFIX, CANVAS].map(|length| (values(length * key_width), values(length * key_width)));
    let segments = [&old, &new].map(|(keys, values)| KeyValues { keys, values });
    let operations = 4.0 * (ATTENTION.heads * CANVAS * ATTENTION.keys * ATTENTION.head_dim) as f64;
    let bytes = 8.0 * (ATTENTION.keys * key_width) as f64;
    add(Work { name: "attention", times: LAYERS, operations, bytes, dtype: "f32" }, &mut || {
        attention(ATTENTION, &inner, &segments, 1.0, &all_keys(ATTENTION.keys), &mut out, None);
        Ok(())
    })?;

    let packed = matrices(QuantFormat::Q8_0, &[[2 * DENSE_INNER, WIDTH], [WIDTH, DENSE_INNER]])?;
    let (mut joined, mut hidden) = (vec![0.0; CANVAS * 2 * DENSE_INNER], vec![0.0; CANVAS * DENSE_INNER]);
    add(work("dense feed-forward", LAYERS, &packed, CANVAS), &mut || {
        gemm_quant(&x, &packed[0], &mut joined);
        gated(&joined, DENSE_INNER, Gate::GeluTanh, &mut hidden);
        gemm_quant(&hidden, &packed[1], &mut out[..CANVAS * WIDTH]);
        Ok(())
    })?;

    let router = matrices(QuantFormat::Q8_0, &[[EXPERTS, WIDTH]])?;
    let gate_up = matrices(QuantFormat::Q4K, &[[2 * EXPERT_INNER, WIDTH]; EXPERTS])?;
    let down = matrices(QuantFormat::Q4_0, &[[WIDTH, EXPERT_INNER]; EXPERTS])?;
    let mut expert_work = work("router and experts", LAYERS, &router, CANVAS);
    expert_work.operations += 6.0 * (CANVAS * CHOICES * WIDTH * EXPERT_INNER) as f64;
    expert_work.bytes += gate_up.iter().chain(&down).map(|weights| weights.bytes().len() as f64).sum::<f64>();
    let experts = Experts::new(ExpertWeights::Quant(gate_up), ExpertWeights::Quant(down), Gate::GeluTanh);
    let experts = experts.map_err(anyhow::Error::msg)?;
    let mut scores = vec![0.0; CANVAS * EXPERTS];
    add(expert_work, &mut || {
        gemm_quant(&x, &router[0], &mut scores);
        let (chosen, weights) = route(&scores, EXPERTS, CHOICES);
        let routes = Routes { top_k: CHOICES, experts: &chosen, weights: &weights };
        experts.forward(&x, routes, &mut out[..CANVAS * WIDTH]);
        Ok(())
    })?;
    drop(experts);

    let scale = vec![1.0; WIDTH];
    let bytes = 8.0 * (CANVAS * WIDTH) as f64;
    let operations = 4.0 * (CANVAS * WIDTH) as f64;
    add(Work { name: "a norm", times: 7 * LAYERS + 1, operations, bytes, dtype: "f32" }, &mut || {
        rms_norm(&x, &scale, 1e-6, &mut out[..CANVAS * WIDTH]);
        Ok(())
    })?;

    let table = matrices(QuantFormat::Q6K, &[[VOCABULARY, WIDTH]])?;
    let mut logits = vec![0.0; CANVAS * VOCABULARY];
    add(work("output projection", 1, &table, CANVAS), &mut || {
        gemm_quant(&x, &table[0], &mut logits);
        Ok(())
    })?;
    let requests: Vec<_> =
        (0..CANVAS).map(|row| Request { row, key: Some(row as u64), ..Request::default() }).collect();
    let transform = Transform { soft_cap: Some(30.0), temperature: 0.8, ..Transform::PLAIN };
    let bytes = 4.0 * logits.len() as f64;
    let mut drawn = 0;
    add(Work { name: "vocabulary pass", times: 1, operations: bytes / 4.0, bytes, dtype: "f32" }, &mut || {
        drawn = reduce(&logits, VOCABULARY, &requests, &transform).len();
        Ok(())
    })?;

    let sum = |of: fn(&Part) -> f64| parts.iter().map(|part| part.times as f64 * of(part)).sum::<f64>();
    let (step_ms, roofline_ms) = (sum(|part| part.ms), sum(|part| part.roofline_ms));
    Ok(LayerReport {
        model: "diffusion_gemma 26B-A4B",
        canvas: CANVAS,
        prefix: PREFIX,
        roofline_ratio: step_ms / roofline_ms,
        parts,
        step_ms,
        roofline_ms,
        gigabytes_per_second: gigabytes,
    })
}

/// Random matrices `[outputs, inputs]`.
fn matrices(format: QuantFormat, shapes: &[[usize; 2]]) -> Result<Vec<PackedQuant>> {
    let pack = |(seed, shape): (usize, &[usize; 2])| {
        let blocks = random_blocks(format, *shape, 0.02, seed as u64).context("rows of whole blocks")?;
        Ok(PackedQuant::pack(format, *shape, &blocks)?)
    };
    shapes.iter().enumerate().map(pack).collect()
}

/// The products of `rows` rows with all of these weights.
fn work(name: &'static str, times: usize, weights: &[PackedQuant], rows: usize) -> Work {
    let cells = weights.iter().map(|weights| (weights.outputs() * weights.inputs()) as f64).sum::<f64>();
    let bytes = weights.iter().map(|weights| weights.bytes().len() as f64).sum();
    Work { name, times, operations: 2.0 * rows as f64 * cells, bytes, dtype: peak_type() }
}

impl LayerReport {
    /// The table for a reader.
    pub(crate) fn text(&self) -> String {
        let row = |part: &Part| {
            vec![
                part.name.to_string(),
                part.times.to_string(),
                format!("{:.2}", part.ms),
                format!("{:.0}", part.gflops),
                format!("{:.2}", part.roofline_ms),
                format!("{:.0}%", 100.0 * part.ms * part.times as f64 / self.step_ms),
            ]
        };
        let rows: Vec<_> = self.parts.iter().map(row).collect();
        format!(
            "{}\n\n{}, canvas {} behind {} cached tokens: a step takes {:.0} ms, its roofline {:.0} ms ({:.2} times; {:.0} GB/s)",
            plain::table(&["PART", "TIMES", "MS", "GFLOP/S", "ROOFLINE MS", "OF STEP"], &rows),
            self.model,
            self.canvas,
            self.prefix,
            self.step_ms,
            self.roofline_ms,
            self.roofline_ratio,
            self.gigabytes_per_second
        )
    }
}
