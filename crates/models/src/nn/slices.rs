//! From candle's tensors to plain slices, for the kernels.

use std::ops::Deref;

use candle_core::{CpuStorage, Error, Layout, Result, Storage, StorageRef, Tensor};

/// The f32 values of a tensor, borrowed for as long as this lives.
pub(super) struct Values<'a> {
    storage: StorageRef<'a>,
    range: (usize, usize),
}

/// The contiguous f32 values behind a layout.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = contiguous(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The contiguous f32 values of a tensor on the CPU.
pub(super) fn tensor(tensor: &Tensor) -> Result<Values<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = contiguous(layout)?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Values { storage, range }),
        _ => Err(Error::Msg("this kernel works on f32 tensors on the CPU".to_string()).bt()),
    }
}

fn contiguous(layout: &Layout) -> Result<(usize, usize)> {
    layout.contiguous_offsets().ok_or_else(|| Error::Msg("this kernel works on contiguous tensors".to_string()).bt())
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.0..self.range.1],
            // `tensor` has checked the kind.
            _ => &[],
        }
    }
}
