//! Which tensors a family uses as layers: asked of the family itself, which is built on zeros that take no memory.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::load::checkpoint::Architecture;
use crate::load::weights_file::WeightsFile;
use crate::nn::{Init, Linear, Precision, Weights, none_left};
use crate::trunk::Trunk;

/// The names of the weights of layers, the embedding among them. Fails where the file does not belong to the architecture.
pub(super) fn survey(file: &WeightsFile, architecture: &Architecture) -> Result<BTreeSet<String>> {
    let mut survey = Survey { file, layers: BTreeSet::new(), others: BTreeSet::new() };
    Trunk::new(&architecture.config, &mut survey)?;
    let Survey { layers, others, .. } = survey;
    none_left(
        &file.name,
        file.tensors.keys().filter(|name| !layers.contains(*name) && !others.contains(*name)).cloned(),
    )?;
    Ok(layers)
}

struct Survey<'a> {
    file: &'a WeightsFile,
    layers: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Survey<'_> {
    /// One zero, wherever it is read.
    fn zeros(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.file.find(name, shape)?;
        Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?)
    }
}

impl Weights for Survey<'_> {
    fn get(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Tensor> {
        let zeros = self.zeros(name, shape)?;
        self.others.insert(name.to_string());
        Ok(zeros)
    }

    fn linear(&mut self, name: &str, shape: [usize; 2], _: Init) -> Result<Linear> {
        let zeros = self.zeros(name, &shape)?;
        self.layers.insert(name.to_string());
        Linear::from_weight(zeros, Precision::F32)
    }
}
