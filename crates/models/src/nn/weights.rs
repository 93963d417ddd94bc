//! Where parameters come from: a checkpoint, or a trainer that draws them.

use std::collections::HashMap;

use candle_core::Tensor;

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
    /// As `Bf16`, the weights packed once: for inference. A row's bits do not depend on the number of rows.
    FrozenBf16,
}

/// A source of parameters.
pub trait Weights {
    /// The parameter of that name and shape; `init` is used by sources that make new ones.
    fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor>;

    /// How layers built from this source multiply.
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
        let mut left: Vec<_> = self.tensors.into_keys().collect();
        left.sort();
        match left.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(Error::format(
                self.file,
                format!(
                    "{} tensors have no place in the architecture, the first is `{first}`; does config.json belong to it?",
                    left.len()
                ),
            )),
        }
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
