//! What `lldm bench kernels` measures: each kernel beside this CPU's peak and candle's own operation, in turns.

mod dense;
mod experts;
mod quantised;
mod report;
mod setting;

pub(crate) use report::{ReadRow, Report, Row};
pub(crate) use setting::Setting;

/// All kernels, by what their names begin with, and what measures them.
pub(crate) const KERNELS: [(&str, Measure); 3] =
    [("gemm_bf16", dense::rows), ("gemm_q", quantised::rows), ("experts_", experts::rows)];

/// Measures the kernels of a group that the setting wants.
pub(crate) type Measure = fn(&Setting) -> anyhow::Result<Vec<Row>>;
