//! All kernels that are measured.

use super::report::Row;
use super::setting::Setting;
use super::{attention, dense, experts, int8, quantised, training, vocabulary};

/// Measures the kernels of a group that the setting wants.
type Measure = fn(&Setting) -> anyhow::Result<Vec<Row>>;

/// All kernels, by what their names begin with, and what measures them.
pub(crate) const KERNELS: [(&str, Measure); 7] = [
    ("gemm_bf16", dense::rows),
    ("gemm_int8", int8::rows),
    ("gemm_q", quantised::rows),
    ("experts_", experts::rows),
    ("attention", attention::rows),
    ("vocabulary", vocabulary::rows),
    ("training_step", training::rows),
];
