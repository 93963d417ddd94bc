//! The flag that decides where a model computes.

use clap::Args;
use lldm::models::Device;

/// Where a model computes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where the model computes: `cpu`, `cuda:N` for a GPU, or `candle-cpu` for the CPU by the operations that a GPU runs
    #[arg(long, value_name = "DEVICE", env = "LLDM_DEVICE", default_value = "cpu", hide_env_values = true)]
    pub(crate) device: Device,
}
