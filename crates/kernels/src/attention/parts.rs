//! How a task of the backward pass is cut where there are fewer tasks than threads.

use std::ops::Range;

use super::shape::AttentionShape;
use super::visible::Plan;

/// The keys of a part that gives dK and dV, at least: each brings the queries into its order by itself.
const LEAST_KEYS: usize = 96;

/// What one call does of a task: the gradients of the rows of `tiles` if `queries`, those of the keys of `keys` that have
/// any if `keys_values`. Both together cover all tiles and all keys.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) tiles: Range<usize>,
    pub(super) keys: Range<usize>,
    pub(super) queries: bool,
    pub(super) keys_values: bool,
}

/// Cuts a task into parts, if that is faster in spite of the products that are made twice.
pub(super) fn parts(shape: &AttentionShape, plan: &Plan, graded: Range<usize>, threads: usize) -> Vec<Part> {
    let tiles = plan.tiles();
    let whole = Part { tiles: 0..tiles, keys: 0..shape.keys, queries: true, keys_values: true };
    // Five products each, against seven shared evenly.
    if 5 * shape.tasks().div_ceil(threads) * threads <= 7 * shape.tasks() {
        return vec![whole];
    }
    let wanted = (2 * threads).div_ceil(shape.tasks());
    let even = |range: Range<usize>, count: usize, at: usize| {
        range.start + range.len() * at / count..range.start + range.len() * (at + 1) / count
    };
    let pieces = wanted.min(tiles).max(1);
    let by_rows = (0..pieces).map(|at| Part { tiles: even(0..tiles, pieces, at), keys_values: false, ..whole.clone() });
    let pieces = wanted.min(graded.len().div_ceil(LEAST_KEYS)).max(1);
    let by_keys =
        (0..pieces).map(|at| Part { keys: even(graded.clone(), pieces, at), queries: false, ..whole.clone() });
    by_rows.chain(by_keys).collect()
}
