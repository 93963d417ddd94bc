//! Which keys a query sees, and which runs of keys a tile of rows meets.

use std::ops::Range;

use super::shape::AttentionShape;

/// The rule of a mask: the keys that query `i` sees, as two sorted disjoint ranges (either may be empty), the same for
/// every batch row and head. A query that sees no key gets zeros. Keys and values must be finite even where no query
/// sees them.
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

/// A mask worked out: per query its ranges, per tile of rows the runs of keys to compute. The rows of a task are its
/// queries, each with every head of the group.
pub(super) struct Plan {
    group: usize,
    rows: usize,
    tile: usize,
    ranges: Vec<[Range<usize>; 2]>,
    runs: Vec<Vec<Range<usize>>>,
}

impl Plan {
    /// The plan of tiles of `tile` rows.
    pub(super) fn new(shape: &AttentionShape, visible: &dyn VisibleKeys, tile: usize) -> Self {
        let ranges: Vec<_> = (0..shape.queries).map(|query| visible.ranges(query)).collect();
        for (query, [a, b]) in ranges.iter().enumerate() {
            let sorted = a.start <= a.end && b.start <= b.end && (a.is_empty() || b.is_empty() || a.end <= b.start);
            assert!(
                sorted && a.end <= shape.keys && b.end <= shape.keys,
                "attention: query {query} sees {a:?} and {b:?}, which are not sorted, disjoint and below {} keys",
                shape.keys
            );
        }
        let (group, rows) = (shape.group(), shape.rows());
        let queries = |at: usize| at * tile / group..((at + 1) * tile).min(rows).div_ceil(group);
        let runs = (0..rows.div_ceil(tile)).map(|at| runs(&ranges[queries(at)])).collect();
        Self { group, rows, tile, ranges, runs }
    }

    /// The number of tiles.
    pub(super) fn tiles(&self) -> usize {
        self.runs.len()
    }

    /// The rows of a tile.
    pub(super) fn rows(&self, tile: usize) -> Range<usize> {
        tile * self.tile..self.rows.min((tile + 1) * self.tile)
    }

    /// From the first key that a tile meets to the last; empty if it meets none.
    pub(super) fn met(&self, tile: usize) -> Range<usize> {
        let runs = &self.runs[tile];
        runs.first().map_or(0, |run| run.start)..runs.last().map_or(0, |run| run.end)
    }

    /// The runs that a tile meets within `block`.
    pub(super) fn runs(&self, tile: usize, block: Range<usize>) -> impl Iterator<Item = Range<usize>> + Clone {
        let clipped = move |run: &Range<usize>| run.start.max(block.start)..run.end.min(block.end);
        self.runs[tile].iter().map(clipped).filter(|run| !run.is_empty())
    }

    /// From the first key within `block` that any of the tiles meets to the last.
    pub(super) fn span(&self, tiles: Range<usize>, block: Range<usize>) -> Range<usize> {
        let runs = tiles.flat_map(|tile| self.runs(tile, block.clone()));
        runs.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(block.start..block.start)
    }

    /// Calls `f` with each row of a tile, counted within it, and every stretch of `run` that it does not see.
    pub(super) fn for_each_unseen(&self, tile: usize, run: &Range<usize>, mut f: impl FnMut(usize, Range<usize>)) {
        for (i, row) in self.rows(tile).enumerate() {
            let mut at = run.start;
            for range in self.ranges[row / self.group].iter().filter(|range| !range.is_empty()) {
                if at < range.start.min(run.end) {
                    f(i, at..range.start.min(run.end));
                }
                at = at.max(range.end);
            }
            if at < run.end {
                f(i, at..run.end);
            }
        }
    }
}

/// The union of the ranges, as sorted ranges with gaps between them.
fn runs(ranges: &[[Range<usize>; 2]]) -> Vec<Range<usize>> {
    let mut sorted: Vec<_> = ranges.iter().flatten().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_by_key(|range| range.start);
    let mut runs: Vec<Range<usize>> = Vec::new();
    for range in sorted {
        match runs.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_what_touches() {
        assert_eq!(runs(&[[0..3, 100..130], [5..5, 130..131], [2..4, 200..200]]), [0..4, 100..131]);
        assert!(runs(&[[0..0, 7..7]]).is_empty());
    }

    #[test]
    fn a_tile_meets_the_keys_of_its_rows() {
        let shape = AttentionShape { batch: 1, heads: 6, kv_heads: 2, queries: 5, keys: 20, head_dim: 1 };
        let causal = |query: usize| [query..3 * query + 1, 18..20];
        let plan = Plan::new(&shape, &causal, 4);
        assert_eq!(plan.tiles(), 4);
        // Rows 4, 5 are query 1, rows 6, 7 query 2.
        assert_eq!(plan.rows(1), 4..8);
        assert_eq!(plan.met(1), 1..20);
        assert_eq!(plan.runs(1, 2..19).collect::<Vec<_>>(), [2..7, 18..19]);
        assert_eq!(plan.span(0..2, 0..16), 0..7);
        assert_eq!(plan.span(0..2, 8..16), 8..8);
        let mut unseen = Vec::new();
        plan.for_each_unseen(1, &(1..19), |row, keys| unseen.push((row, keys)));
        assert_eq!(unseen, [(0, 4..18), (1, 4..18), (2, 1..2), (2, 7..18), (3, 1..2), (3, 7..18)]);
    }
}
