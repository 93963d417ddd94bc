//! Where a model computes: a name for the user, and what can be had under it in this build.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::nn::Backend;

/// Whether this build can compute on GPUs.
pub const HAS_CUDA: bool = cfg!(feature = "cuda");

/// Where a model computes, and by whose operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU, by the kernels of `lldm-kernels`.
    #[default]
    Cpu,
    /// The CPU, by the operations of candle that a GPU runs: for comparison with either.
    CandleCpu,
    /// An NVIDIA GPU by its number, by candle's operations.
    Cuda(usize),
}

impl Device {
    /// Those that can be had here.
    pub fn present() -> Vec<Self> {
        let gpus = (0..).map(Self::Cuda).take_while(|gpu| gpu.open().is_ok());
        [Self::Cpu, Self::CandleCpu].into_iter().chain(gpus).collect()
    }

    /// The device, opened.
    pub fn open(self) -> Result<Backend> {
        match self {
            Self::Cpu => Ok(Backend::Kernels),
            Self::CandleCpu => Ok(Backend::candle(candle_core::Device::Cpu)),
            Self::Cuda(_) if !HAS_CUDA => {
                let hint = "this build knows no GPU: build it with `--features cuda`, or take the device `cpu`";
                Err(Error::Device { device: self, message: hint.to_string() })
            }
            Self::Cuda(number) => {
                let opened = candle_core::Device::new_cuda(number);
                let message = |error: candle_core::Error| {
                    // Behind the first line candle shows where in its code the error arose.
                    let text = error.to_string();
                    format!("{}; `nvidia-smi` lists the GPUs that are there", text.lines().next().unwrap_or_default())
                };
                opened.map(Backend::candle).map_err(|error| Error::Device { device: self, message: message(error) })
            }
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::CandleCpu => f.write_str("candle-cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device: take `cpu`, `candle-cpu`, or `cuda:N` for the GPU number N");
        match text {
            "cpu" => Ok(Self::Cpu),
            "candle-cpu" => Ok(Self::CandleCpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Self::Cuda).ok_or_else(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_devices() {
        for device in [Device::Cpu, Device::CandleCpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "CPU"] {
            let message = wrong.parse::<Device>().expect_err("no device");
            assert!(message.starts_with(&format!("`{wrong}` is no device")), "{message}");
        }
    }

    #[test]
    #[cfg(not(feature = "cuda"))]
    fn a_gpu_needs_its_build() {
        let message = Device::Cuda(1).open().expect_err("no GPU").to_string();
        assert_eq!(
            message,
            "cannot compute on cuda:1: this build knows no GPU: build it with `--features cuda`, or take the device `cpu`"
        );
    }
}
