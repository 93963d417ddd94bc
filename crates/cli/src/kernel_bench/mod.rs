//! What `lldm bench kernels` measures: each kernel beside this CPU's peak and candle's own operation, in turns.

mod attention;
mod dense;
mod experts;
mod int8;
mod layer;
mod quantised;
mod registry;
mod report;
mod setting;
mod training;
mod vocabulary;

pub(crate) use layer::{LayerReport, diffusion_gemma};
pub(crate) use registry::KERNELS;
pub(crate) use report::{ReadRow, Report, Row};
pub(crate) use setting::Setting;
