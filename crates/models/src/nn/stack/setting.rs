//! What the layers of a stack share, and how their rows are cut into pieces.

use lldm_kernels::AttentionShape;

use crate::nn::attention::Visibility;
use crate::nn::decoder_block::DecoderBlockConfig;
use crate::nn::rope::Rope;

/// Vectors of a piece, about: what passes between the operations of a layer then stays in the cache of one core.
pub(super) const PIECE: usize = 128;

/// B rows of L vectors, and how they see one another.
pub(super) struct Setting {
    pub(super) batch: usize,
    pub(super) length: usize,
    pub(super) rope: Option<Rope>,
    pub(super) visibility: Visibility,
    /// The vectors that are asked for, if not all of them: the last layer leaves the others out where it can.
    pub(super) rows: Option<Vec<u32>>,
}

impl Setting {
    /// The vectors of a piece: whole rows of the batch, since a row does not see the others.
    pub(super) fn piece(&self) -> usize {
        (PIECE / self.length.max(1)).max(1) * self.length.max(1)
    }

    /// All vectors, B * L.
    pub(super) fn count(&self) -> usize {
        self.batch * self.length
    }

    /// The attention of a piece of that many vectors.
    pub(super) fn attention(&self, config: &DecoderBlockConfig, count: usize) -> AttentionShape {
        let DecoderBlockConfig { heads, head_width, .. } = *config;
        let length = self.length;
        AttentionShape {
            batch: count / length,
            heads,
            kv_heads: heads,
            queries: length,
            keys: length,
            head_dim: head_width,
        }
    }
}
