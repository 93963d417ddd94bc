//! The parameters of a model file, tensor by tensor, in the form in which they are multiplied.
//!
//! Plain tensors are packed some rows at a time and the pages of the file released behind them; packed ones stay where they lie. At no
//! time is there an f32 copy of a layer's weight.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use lldm_kernels::{Bf16Packer, Layout, QuantPacker, bf16_path, selected_kernel};

use super::converted::Coding;
use super::weights_file::{Form, StoredTensor, WeightsFile, slabs};
use crate::error::{Error, Result};
use crate::nn::{Backend, Blocks, CandleBackend, Init, Linear, Precision, StorageKind, Weights, none_left};

/// A file as a source of parameters.
pub(super) struct StoredWeights {
    file: WeightsFile,
    left: BTreeSet<String>,
    backend: Backend,
    uses: Vec<StorageUse>,
}

/// What one kind of storage holds of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageUse {
    /// The kind.
    pub kind: StorageKind,
    /// Whether the weights are used where they lie in the file.
    pub mapped: bool,
    /// How many tensors.
    pub tensors: usize,
    /// How many numbers.
    pub parameters: usize,
    /// Their bytes.
    pub size_bytes: usize,
}

impl StoredWeights {
    pub(super) fn new(file: WeightsFile, backend: Backend) -> Self {
        let left = file.tensors.keys().cloned().collect();
        Self { file, left, backend, uses: Vec::new() }
    }

    /// What was read, the largest part first. Fails when a tensor was not asked for: such a file belongs to another architecture.
    pub(super) fn finish(mut self) -> Result<Vec<StorageUse>> {
        none_left(&self.file.name, self.left)?;
        self.uses.sort_by_key(|one| std::cmp::Reverse(one.size_bytes));
        Ok(self.uses)
    }

    /// The tensor, once.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<StoredTensor> {
        let tensor = self.file.find(name, shape)?.clone();
        if !self.left.remove(name) {
            let found = "one that is in use already".to_string();
            return Err(Error::Tensor { name: name.to_string(), expected: shape.to_vec(), found });
        }
        Ok(tensor)
    }

    fn note(&mut self, kind: StorageKind, mapped: bool, parameters: usize, size_bytes: usize) {
        let at = self.uses.iter().position(|one| one.kind == kind && one.mapped == mapped).unwrap_or_else(|| {
            self.uses.push(StorageUse { kind, mapped, tensors: 0, parameters: 0, size_bytes: 0 });
            self.uses.len() - 1
        });
        let one = &mut self.uses[at];
        one.tensors += 1;
        one.parameters += parameters;
        one.size_bytes += size_bytes;
    }

    /// A plain tensor, packed; with the bytes that it takes.
    fn packed(&self, name: &str, tensor: &StoredTensor) -> Result<(Linear, usize)> {
        let [output, input] = tensor.matrix();
        let rows = self.file.rows(name, tensor)?;
        let mut packer = Bf16Packer::new([input, output]);
        let mut values = Vec::new();
        for slab in slabs(output, input) {
            values.resize(slab.len() * input, 0.0);
            rows.read(slab.clone(), input, &mut values);
            packer.add(&values, Layout::row_major(slab.len(), input).transposed());
            self.file.source.release(tensor.part(&slab));
        }
        let packed = packer.finish();
        let size_bytes = packed.bytes().len();
        Ok((packed.into(), size_bytes))
    }

    /// A layer on a device of candle's; with the bytes that it takes there.
    fn on_candle(&self, name: &str, tensor: &StoredTensor, candle: &CandleBackend) -> Result<(Linear, usize)> {
        let file = &self.file;
        let [output, input] = tensor.matrix();
        match tensor.form {
            Form::Plain(_) => {
                let weight = Tensor::from_vec(file.values(name, tensor)?, (output, input), &Device::Cpu)?;
                file.source.release(tensor.range.clone());
                Ok((Linear::on_candle(&weight, candle)?, size_of::<half::bf16>() * tensor.count()))
            }
            Form::Converted(Coding::Blocks(format)) => {
                let blocks = Blocks { format, bytes: file.source.shared(), range: tensor.range.clone() };
                let layer = Linear::quant_on_candle([output, input], blocks, candle)?;
                file.source.release(tensor.range.clone());
                Ok((layer, tensor.range.len()))
            }
            Form::Converted(Coding::QuantPanels(_) | Coding::Bf16Panels(_)) => {
                let message =
                    "is packed for the kernels of the CPU: for other devices convert the model without --pack";
                Err(file.mistake(name, message))
            }
        }
    }

    fn layer(&self, name: &str, tensor: &StoredTensor) -> Result<(Linear, usize)> {
        let (file, size_bytes) = (&self.file, tensor.range.len());
        match tensor.form {
            Form::Plain(_) => self.packed(name, tensor),
            Form::Converted(Coding::Blocks(format)) => {
                let [output, input] = tensor.matrix();
                let broken = |error| file.mistake(name, format!("is broken ({error}): convert the model again"));
                let mut packer = QuantPacker::new(format, [output, input]).map_err(broken)?;
                for slab in slabs(output, input) {
                    let part = tensor.part(&slab);
                    packer.add(&file.source[part.clone()]).map_err(broken)?;
                    file.source.release(part);
                }
                let packed = packer.finish();
                let size_bytes = packed.bytes().len();
                Ok((packed.into(), size_bytes))
            }
            Form::Converted(Coding::QuantPanels(_)) => {
                let packed = file.quant_panels(name, tensor)?;
                if !packed.bytes().as_ptr().addr().is_multiple_of(super::converted::ALIGNMENT) {
                    return Err(file.mistake(name, "does not begin at a multiple of 64 bytes: convert the model again"));
                }
                file.source.will_need(tensor.range.clone());
                Ok((packed.into(), size_bytes))
            }
            Form::Converted(Coding::Bf16Panels(kernel)) => {
                selected_kernel().map_err(|error| Error::format("LLDM_KERNEL", error))?;
                let own = bf16_path();
                if kernel != own {
                    return Err(Error::format(
                        &file.name,
                        format!(
                            "is packed for the kernel `{}`, but `{}` runs here: pack it again with \
                             `lldm convert FOLDER NEW_FOLDER --pack`",
                            kernel.layout(),
                            own.layout()
                        ),
                    ));
                }
                let packed = file.bf16_panels(name, tensor)?;
                file.source.will_need(tensor.range.clone());
                Ok((packed.into(), size_bytes))
            }
        }
    }
}

impl Weights for StoredWeights {
    fn get(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Tensor> {
        let tensor = self.take(name, shape)?;
        let values = self.file.values(name, &tensor)?;
        self.file.source.release(tensor.range.clone());
        self.note(StorageKind::F32, false, values.len(), size_of_val(values.as_slice()));
        Ok(Tensor::from_vec(values, shape, self.backend.device())?)
    }

    fn backend(&self) -> Backend {
        self.backend.clone()
    }

    fn precision(&self) -> Precision {
        Precision::FrozenBf16
    }

    fn linear(&mut self, name: &str, shape: [usize; 2], _: Init) -> Result<Linear> {
        let tensor = self.take(name, &shape)?;
        let (layer, size_bytes) = match &self.backend {
            Backend::Kernels => self.layer(name, &tensor)?,
            Backend::Candle(candle) => self.on_candle(name, &tensor, candle)?,
        };
        let mapped = matches!(tensor.form, Form::Converted(Coding::QuantPanels(_) | Coding::Bf16Panels(_)));
        self.note(layer.kind(), mapped, tensor.count(), size_bytes);
        Ok(layer)
    }
}
