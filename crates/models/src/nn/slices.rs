//! From candle's tensors to plain slices, for the kernels.

use std::ops::Deref;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Error, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor};

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

/// Shows the f32 values of a contiguous tensor on the CPU to `f`.
pub fn with_values<T>(of: &Tensor, f: impl FnOnce(&[f32]) -> T) -> crate::error::Result<T> {
    Ok(f(&tensor(of)?))
}

/// Lets `f` change the f32 values of a contiguous tensor on the CPU where they lie. Everything that shares them sees it.
pub fn change_values<T: Send>(of: &Tensor, f: impl FnOnce(&mut [f32]) -> T + Send) -> crate::error::Result<T> {
    let change = Change { todo: Mutex::new(Some(f)), done: Mutex::new(None) };
    of.inplace_op1(&change)?;
    let done = change.done.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(done.ok_or_else(|| Error::Msg("the values were not changed".to_string()).bt())?)
}

struct Change<F, T> {
    todo: Mutex<Option<F>>,
    done: Mutex<Option<T>>,
}

impl<T, F: FnOnce(&mut [f32]) -> T> InplaceOp1 for Change<F, T> {
    fn name(&self) -> &'static str {
        "change_values"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (start, end) = contiguous(layout)?;
        let CpuStorage::F32(values) = storage else {
            return Err(Error::Msg("this works on f32 tensors on the CPU".to_string()).bt());
        };
        let todo = self.todo.lock().unwrap_or_else(PoisonError::into_inner).take();
        let done = todo.map(|todo| todo(&mut values[start..end]));
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = done;
        Ok(())
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
