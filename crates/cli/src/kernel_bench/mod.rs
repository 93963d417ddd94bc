//! What `lldm bench kernels` measures: each kernel beside this CPU's peak and candle's own operation, in turns.

mod attention;
mod dense;
mod experts;
mod layer;
mod quantised;
mod report;
mod setting;
mod training;
mod vocabulary;

pub(crate) use layer::diffusion_gemma;
pub(crate) use report::{ReadRow, Report, Row};
pub(crate) use setting::Setting;

/// All kernels, by what their names begin with, and what measures them.
pub(crate) const KERNELS: [(&str, Measure); 6] = [
    ("gemm_bf16", dense::rows),
    ("gemm_q", quantised::rows),
    ("experts_", experts::rows),
    ("attention", attention::rows),
    ("vocabulary", vocabulary::rows),
    ("training_step", training::rows),
];

/// Measures the kernels of a group that the setting wants.
pub(crate) type Measure = fn(&Setting) -> anyhow::Result<Vec<Row>>;
