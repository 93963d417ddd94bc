//! The sizes of an attention, and where its values lie.

use std::ops::Range;

/// Sizes: q and out are `[batch, queries, heads, head_dim]`, k and v are `[batch, keys, kv_heads, head_dim]`, all row
/// major. `queries` and `keys` may differ, as with a cache of earlier keys. Query head h reads key head
/// `h / (heads / kv_heads)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// B.
    pub batch: usize,
    /// H, a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of the keys and values.
    pub kv_heads: usize,
    /// Lq.
    pub queries: usize,
    /// Lk, over all segments.
    pub keys: usize,
    /// Dh.
    pub head_dim: usize,
}

/// A stretch of keys and values, both `[B, L, KV, Dh]` with an L of their own.
#[derive(Clone, Copy, Debug)]
pub struct KeyValues<'a> {
    /// k.
    pub keys: &'a [f32],
    /// v.
    pub values: &'a [f32],
}

/// The keys of an attention: segments one after another, as if they were concatenated over L.
pub(super) struct Segments<'a> {
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    /// Which keys.
    keys: Range<usize>,
    data: KeyValues<'a>,
}

impl AttentionShape {
    /// The number of values of q, out and their gradients.
    pub fn query_len(&self) -> usize {
        self.batch * self.queries * self.heads * self.head_dim
    }

    /// The number of values of k, v and their gradients, over all segments.
    pub fn key_len(&self) -> usize {
        self.batch * self.keys * self.kv_heads * self.head_dim
    }

    /// The number of log-sum-exps: `[batch, heads, queries]`.
    pub fn lse_len(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    /// Pairs of a batch row and a key head; the task of (b, h) is `b · kv_heads + h`.
    pub(super) fn tasks(&self) -> usize {
        self.batch * self.kv_heads
    }

    /// Query heads that read the same keys.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The rows of a task: each query with each head of the group, heads inside.
    pub(super) fn rows(&self) -> usize {
        self.queries * self.group()
    }

    /// Where each of the rows of a task begins in q, and where it lies among the log-sum-exps.
    pub(super) fn places(&self, task: usize, rows: Range<usize>) -> impl Iterator<Item = (usize, usize)> + Clone {
        // Divisions once, not for every row.
        let group = self.group();
        let (batch, kv_head) = (task / self.kv_heads, task % self.kv_heads);
        let (mut query, mut head) = (rows.start / group, rows.start % group);
        let (stride, first) = (self.heads * self.head_dim, kv_head * group * self.head_dim);
        let start = batch * self.queries;
        let (head_dim, queries) = (self.head_dim, self.queries);
        rows.map(move |_| {
            let place = ((start + query) * stride + first + head * head_dim, (task * group + head) * queries + query);
            head += 1;
            if head == group {
                (query, head) = (query + 1, 0);
            }
            place
        })
    }

    /// Where the first key of a task begins in a segment of `length` keys, and how far the next one is.
    pub(super) fn key_places(&self, task: usize, length: usize) -> (usize, usize) {
        let stride = self.kv_heads * self.head_dim;
        (task / self.kv_heads * length * stride + task % self.kv_heads * self.head_dim, stride)
    }

    /// `head_dim` rounded up to whole lanes.
    pub(super) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(crate::simd::LANES)
    }

    pub(super) fn check(&self, q: &[f32]) {
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "attention: heads are not a multiple of kv_heads in {self:?}"
        );
        assert_eq!(q.len(), self.query_len(), "attention: q is not {self:?}");
    }
}

impl<'a> Segments<'a> {
    pub(super) fn new(shape: &AttentionShape, segments: &[KeyValues<'a>]) -> Self {
        let per_key = shape.batch * shape.kv_heads * shape.head_dim;
        let mut end = 0;
        let part = |data: &KeyValues<'a>| {
            assert_eq!(data.keys.len(), data.values.len(), "attention: k and v differ in length, {shape:?}");
            assert!(
                data.keys.len().is_multiple_of(per_key.max(1)),
                "attention: a segment is not whole keys of {shape:?}"
            );
            let start = end;
            end += data.keys.len() / per_key.max(1);
            Part { keys: start..end, data: *data }
        };
        let parts = segments.iter().map(part).collect();
        assert!(end == shape.keys || per_key == 0, "attention: the segments hold {end} keys, not those of {shape:?}");
        Self { parts }
    }

    /// The keys of the last segment.
    pub(super) fn last(&self) -> Range<usize> {
        self.parts.last().map_or(0..0, |part| part.keys.clone())
    }

    /// Calls `f` with each key of `span`, counted from the span's start, and its k and v of one task.
    pub(super) fn for_each(
        &self,
        shape: &AttentionShape,
        task: usize,
        span: Range<usize>,
        mut f: impl FnMut(usize, &[f32], &[f32]),
    ) {
        for Part { keys, data } in &self.parts {
            let (first, stride) = shape.key_places(task, keys.len());
            for key in span.start.max(keys.start)..span.end.min(keys.end) {
                let offset = first + (key - keys.start) * stride;
                let row = offset..offset + shape.head_dim;
                f(key - span.start, &data.keys[row.clone()], &data.values[row]);
            }
        }
    }
}
