//! Who computes the layers: our kernels on the CPU, or candle's own operations on any of its devices.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};

use crate::nn::Visibility;

/// Who computes the layers of a model.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// `lldm-kernels`, on the CPU.
    #[default]
    Kernels,
    /// candle.
    Candle(Arc<CandleBackend>),
}

/// A device of candle's.
#[derive(Debug)]
pub struct CandleBackend {
    device: Device,
    /// The mask of the last attention: the layers of a pass share it.
    mask: Mutex<Option<Mask>>,
}

/// Which keys are seen, for some queries and keys.
#[derive(Debug)]
struct Mask {
    of: (Visibility, usize, usize),
    mask: Option<Tensor>,
}

impl Backend {
    /// candle on that device.
    pub fn candle(device: Device) -> Self {
        Self::Candle(Arc::new(CandleBackend { device, mask: Mutex::default() }))
    }

    /// Where tensors lie.
    pub fn device(&self) -> &Device {
        match self {
            Self::Kernels => &Device::Cpu,
            Self::Candle(candle) => &candle.device,
        }
    }

    /// Whether it works on the threads of the CPU, which share the rows of a batch.
    pub fn is_cpu(&self) -> bool {
        self.device().is_cpu()
    }
}

impl CandleBackend {
    /// Where its tensors lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What is added to the scores of Q queries on K keys, `[Q, K]`, made by `make` where it is not at hand.
    pub(super) fn mask(
        &self,
        of: (Visibility, usize, usize),
        make: impl FnOnce(&Device) -> candle_core::Result<Option<Tensor>>,
    ) -> candle_core::Result<Option<Tensor>> {
        let mut last = self.mask.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.of == of) {
            return Ok(last.mask.clone());
        }
        let mask = make(&self.device)?;
        *last = Some(Mask { of, mask: mask.clone() });
        Ok(mask)
    }
}
