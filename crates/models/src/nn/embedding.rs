//! The token embedding, which also serves as the output projection where weights are tied.

use candle_core::Tensor;

use super::cross_entropy::CrossEntropy;
use super::linear::Linear;
use super::weights::{Init, Weights};
use crate::error::Result;

/// A table of V vectors of width D.
#[derive(Clone, Debug)]
pub struct Embedding {
    table: Linear,
}

impl Embedding {
    /// Reads `{name}.weight`, [V, D].
    pub fn new(weights: &mut dyn Weights, name: &str, vocabulary: usize, width: usize) -> Result<Self> {
        Ok(Self { table: Linear::new(weights, name, width, vocabulary, Init::Normal(0.02))? })
    }

    /// The vectors of N tokens: `[N, D]`.
    pub fn forward(&self, tokens: &[u32]) -> Result<Tensor> {
        self.table.rows(tokens)
    }

    /// The logits of N hidden vectors over the V tokens: [N, D] to [N, V].
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.table.forward(hidden)
    }

    /// The same numbers in host memory, row by row.
    pub fn logit_values(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        self.table.values(hidden)
    }

    /// The weighted cross-entropy of the logits of N hidden vectors [N, D]; see [`Linear::cross_entropy`].
    pub fn cross_entropy(&self, hidden: &Tensor, spec: CrossEntropy) -> Result<Tensor> {
        self.table.cross_entropy(hidden, spec)
    }
}
