//! The reverse pass: candle's, but that the gradients of parameters are summed in place.
//!
//! candle adds each gradient that arrives to a fresh tensor of zeros, on one thread. Ops of this crate hand the gradients of
//! parameters to [`backward`] directly; under candle's own `Tensor::backward` they return them as any op does, except
//! [`super::decode`], which has more parameters than an op has inputs.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, TensorId};

use super::buffer::Buffer;
use super::slices::tensor;
use crate::error::Result;

thread_local! {
    /// What the reverse pass that runs on this thread has collected. While a thread waits for the pool, it may run another
    /// reverse pass to its end; each puts back what it found.
    static COLLECTED: RefCell<Option<HashMap<TensorId, Buffer>>> = const { RefCell::new(None) };
}

/// The gradients of a scalar.
#[derive(Debug)]
pub struct Gradients {
    collected: HashMap<TensorId, Buffer>,
    rest: GradStore,
}

/// Restores what another reverse pass had collected, also after an error.
struct Restore(Option<HashMap<TensorId, Buffer>>);

/// The gradients of `loss`, a scalar, to all variables that it depends on.
pub fn backward(loss: &Tensor) -> Result<Gradients> {
    let restore = Restore(COLLECTED.replace(Some(HashMap::new())));
    let rest = loss.backward()?;
    let collected = COLLECTED.take().unwrap_or_default();
    drop(restore);
    Ok(Gradients { collected, rest })
}

impl Gradients {
    /// Shows the gradient of a variable to `f`; `None` where the scalar does not depend on it.
    pub fn with<T>(&self, variable: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<Option<T>> {
        let rest = self.rest.get(variable).map(Tensor::contiguous).transpose()?;
        Ok(match (self.collected.get(&variable.id()), rest) {
            (None, None) => None,
            (Some(buffer), None) => Some(f(buffer)),
            (None, Some(grad)) => Some(f(&tensor(&grad)?)),
            (Some(buffer), Some(grad)) => {
                let mut sum = tensor(&grad)?.to_vec();
                lldm_kernels::vector::add(buffer, &mut sum);
                Some(f(&sum))
            }
        })
    }

    /// A copy of the gradient of a variable.
    pub fn get(&self, variable: &Tensor) -> Result<Option<Tensor>> {
        let copy = self.with(variable, |grad| Tensor::from_vec(grad.to_vec(), variable.shape(), &Device::Cpu))?;
        Ok(copy.transpose()?)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        COLLECTED.set(self.0.take());
    }
}

/// Whether gradients can be handed over here.
pub(super) fn collecting() -> bool {
    COLLECTED.with_borrow(Option::is_some)
}

/// Takes the gradient of an input that `write` fills in: kept if the input is a parameter of a pass of [`backward`], returned if
/// candle is to go on with it.
pub(super) fn written(input: &Tensor, write: impl FnOnce(&mut [f32])) -> candle_core::Result<Option<Tensor>> {
    if !(input.is_variable() && collecting()) {
        let mut grad = vec![0.0; input.elem_count()];
        write(&mut grad);
        return Tensor::from_vec(grad, input.shape(), &Device::Cpu).map(Some);
    }
    let mut fresh = Buffer::new(input.elem_count());
    write(&mut fresh);
    let sum = match take(input) {
        None => fresh,
        Some(mut sum) => {
            lldm_kernels::vector::add(&fresh, &mut sum);
            sum
        }
    };
    keep(input, sum);
    Ok(None)
}

/// As [`written`], but `add` adds to what is there.
pub(super) fn added(input: &Tensor, add: impl FnOnce(&mut [f32])) -> candle_core::Result<Option<Tensor>> {
    if !(input.is_variable() && collecting()) {
        let mut grad = vec![0.0; input.elem_count()];
        add(&mut grad);
        return Tensor::from_vec(grad, input.shape(), &Device::Cpu).map(Some);
    }
    let mut sum = take(input).unwrap_or_else(|| Buffer::zeros(input.elem_count()));
    add(&mut sum);
    keep(input, sum);
    Ok(None)
}

fn take(input: &Tensor) -> Option<Buffer> {
    COLLECTED.with_borrow_mut(|collected| collected.as_mut()?.remove(&input.id()))
}

fn keep(input: &Tensor, grad: Buffer) {
    COLLECTED.with_borrow_mut(|collected| collected.as_mut().map(|collected| collected.insert(input.id(), grad)));
}
