//! The sizes of an attention.

/// Sizes: q and out are `[batch, queries, heads, head_dim]`, k and v are `[batch, keys, heads, head_dim]`, all row
/// major. `queries` and `keys` may differ, as with a cache of earlier keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// B.
    pub batch: usize,
    /// H.
    pub heads: usize,
    /// Lq.
    pub queries: usize,
    /// Lk.
    pub keys: usize,
    /// Dh.
    pub head_dim: usize,
}

impl AttentionShape {
    /// The number of values of q, out and their gradients.
    pub fn query_len(&self) -> usize {
        self.batch * self.queries * self.heads * self.head_dim
    }

    /// The number of values of k, v and their gradients.
    pub fn key_len(&self) -> usize {
        self.batch * self.keys * self.heads * self.head_dim
    }

    /// The number of log-sum-exps: `[batch, heads, queries]`.
    pub fn lse_len(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    /// Distance of two cells of one head.
    pub(super) fn stride(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Where the first query of task `b · heads + h` begins.
    pub(super) fn query_offset(&self, task: usize) -> usize {
        (task / self.heads * self.queries * self.heads + task % self.heads) * self.head_dim
    }

    /// Where the first key of task `b · heads + h` begins.
    pub(super) fn key_offset(&self, task: usize) -> usize {
        (task / self.heads * self.keys * self.heads + task % self.heads) * self.head_dim
    }

    /// `head_dim` rounded up to whole lanes.
    pub(super) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// `keys` rounded up to whole panels.
    pub(super) fn padded_keys(&self) -> usize {
        self.keys.next_multiple_of(crate::tile_product::PANEL)
    }

    pub(super) fn check(&self, q: &[f32], k: &[f32], v: &[f32]) {
        assert_eq!(q.len(), self.query_len(), "attention: q is not {self:?}");
        assert_eq!(k.len(), self.key_len(), "attention: k is not {self:?}");
        assert_eq!(v.len(), self.key_len(), "attention: v is not {self:?}");
    }
}
