//! Where parameters come from: a checkpoint, or a trainer that draws them.

use std::collections::HashMap;

use candle_core::Tensor;

use super::candle::Backend;
use super::linear::Linear;
use crate::error::{Error, Result};

/// How a new parameter begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Gaussian with this standard deviation.
    Normal(f64),
    /// All zero (output projections, so that a new block is the identity).
    Zeros,
    /// All one (norm weights).
    Ones,
}

/// How a layer multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 products.
    #[default]
    F32,
    /// Both factors are rounded to bf16, the sums are f32; the stored weight stays f32.
    Bf16,
    /// As `Bf16`, the weights packed once and kept in bf16 alone: for inference.
    FrozenBf16,
}

/// A source of parameters.
pub trait Weights {
    /// The parameter of that name and shape; `init` is used by sources that make new ones.
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor>;

    /// The layer whose weight [out, in] has that name and shape. A source that keeps weights in another form than f32 gives the
    /// layer in that form.
    fn linear(&mut self, name: &str, shape: [usize; 2], init: Init) -> Result<Linear> {
        let weight = self.get(name, &shape, init)?;
        Linear::from_weight(weight, self.precision())
    }

    /// Who computes the layers; tensors lie on its device.
    fn backend(&self) -> Backend {
        Backend::Kernels
    }

    /// How layers multiply whose weights come from [`Weights::get`].
    fn precision(&self) -> Precision {
        Precision::F32
    }
}

/// Parameters read from a checkpoint.
pub struct Loaded {
    file: String,
    tensors: HashMap<String, Tensor>,
    precision: Precision,
}

impl Loaded {
    /// Takes the tensors of `file` (named in errors); they are widened to f32.
    pub fn new(file: impl ToString, tensors: HashMap<String, Tensor>, precision: Precision) -> Self {
        Self { file: file.to_string(), tensors, precision }
    }

    /// Fails when a tensor was not asked for: such a file belongs to another architecture.
    pub fn finish(self) -> Result<()> {
        none_left(&self.file, self.tensors.into_keys())
    }
}

/// Fails when there are tensors that nobody asked for.
pub(crate) fn none_left(file: &str, names: impl IntoIterator<Item = String>) -> Result<()> {
    let mut left: Vec<_> = names.into_iter().collect();
    left.sort();
    match left.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Error::format(
            file,
            format!(
                "{} tensors have no place in the architecture, the first is `{first}`; does config.json belong to it?",
                left.len()
            ),
        )),
    }
}

impl Weights for Loaded {
    fn get(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Tensor> {
        let found = self.tensors.remove(name);
        match found {
            Some(tensor) if tensor.dims() == shape => Ok(tensor.to_dtype(candle_core::DType::F32)?),
            found => Err(Error::Tensor {
                name: name.to_string(),
                expected: shape.to_vec(),
                found: found.map_or("nothing".to_string(), |tensor| format!("{:?}", tensor.dims())),
            }),
        }
    }

    fn precision(&self) -> Precision {
        self.precision
    }
}
