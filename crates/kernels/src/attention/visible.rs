//! Which keys a query sees, and which panels of keys a tile of queries meets.

use std::ops::Range;

use super::shape::AttentionShape;
use crate::tile_product::PANEL;

/// The rule of a mask: the keys that query `i` sees, as two sorted disjoint ranges (either may be empty), the same for
/// every batch row and head. A query that sees no key gets zeros. Keys must be finite even where no query sees them.
pub trait VisibleKeys: Sync {
    /// The ranges of query `query`, below the number of keys.
    fn ranges(&self, query: usize) -> [Range<usize>; 2];
}

impl<F: Fn(usize) -> [Range<usize>; 2] + Sync> VisibleKeys for F {
    fn ranges(&self, query: usize) -> [Range<usize>; 2] {
        self(query)
    }
}

/// The rule of full attention over `keys` keys.
pub fn all_keys(keys: usize) -> impl VisibleKeys {
    move |_| [0..keys, keys..keys]
}

/// Queries per tile.
pub(super) const TILE: usize = 24;

/// A mask worked out: per query its ranges, per tile of queries the runs of panels of keys to compute.
pub(super) struct Plan {
    ranges: Vec<[Range<usize>; 2]>,
    runs: Vec<Vec<Range<usize>>>,
}

impl Plan {
    pub(super) fn new(shape: &AttentionShape, visible: &dyn VisibleKeys) -> Self {
        let ranges: Vec<_> = (0..shape.queries).map(|query| visible.ranges(query)).collect();
        for (query, [a, b]) in ranges.iter().enumerate() {
            let sorted = a.start <= a.end && b.start <= b.end && (a.is_empty() || b.is_empty() || a.end <= b.start);
            assert!(
                sorted && a.end <= shape.keys && b.end <= shape.keys,
                "attention: query {query} sees {a:?} and {b:?}, which are not sorted, disjoint and below {} keys",
                shape.keys
            );
        }
        let runs = ranges.chunks(TILE).map(|tile| runs(tile, shape.padded_keys() / PANEL)).collect();
        Self { ranges, runs }
    }

    /// Each tile: its queries and the runs of keys, whole panels, that it meets.
    pub(super) fn tiles(&self) -> impl Iterator<Item = (Range<usize>, &[Range<usize>])> {
        let queries = self.ranges.len();
        self.runs.iter().enumerate().map(move |(i, runs)| (i * TILE..queries.min((i + 1) * TILE), runs.as_slice()))
    }

    /// The keys that a query sees.
    pub(super) fn ranges(&self, query: usize) -> &[Range<usize>; 2] {
        &self.ranges[query]
    }
}

/// The panels that any of the ranges touches, neighbours joined, in keys.
fn runs(tile: &[[Range<usize>; 2]], panels: usize) -> Vec<Range<usize>> {
    let mut touched = vec![false; panels];
    for range in tile.iter().flatten().filter(|range| !range.is_empty()) {
        touched[range.start / PANEL..range.end.div_ceil(PANEL)].fill(true);
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for panel in (0..panels).filter(|panel| touched[*panel]) {
        let (start, end) = (panel * PANEL, (panel + 1) * PANEL);
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_neighbouring_panels() {
        let tile = [[0..3, 100..130], [5..5, 130..131], [33..34, 200..200]];
        assert_eq!(runs(&tile, 7), [0..64, 96..160]);
        assert!(runs(&[[0..0, 0..0]], 3).is_empty());
    }
}
