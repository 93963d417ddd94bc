//! What no cell of a sequence may hold, and the proposals that follow: the mask nowhere, the end tokens not left of a cell
//! that is given, some pieces not in the first cell.

use crate::contract::LogitTransform;
use crate::denoiser::DenoiserInfo;
use crate::error::Result;
use crate::generate::Sequence;
use crate::prediction::{Prediction, Proposal, RowRequest};
use crate::rng::{Purpose, StepRng};
use crate::vocabulary::Draw;

/// The transforms of a sequence's cells.
pub(crate) struct Bans {
    /// Where nothing is given to the right.
    pub(crate) plain: LogitTransform,
    /// Left of a given cell.
    inner: LogitTransform,
    /// The first cell, if it has bans of its own: left of a given cell, and not.
    first: Option<[LogitTransform; 2]>,
    last_pin: Option<usize>,
}

impl Bans {
    pub(crate) fn new(transform: &LogitTransform, info: &DenoiserInfo, sequence: &Sequence) -> Self {
        let with = |transform: &LogitTransform, banned: &[u32]| {
            let mut transform = transform.clone();
            transform.banned.extend(banned);
            transform
        };
        let plain = with(transform, info.mask.as_slice());
        let inner = with(&plain, &info.end);
        let banned = &sequence.first_banned;
        let first = (!banned.is_empty()).then(|| [with(&inner, banned), with(&plain, banned)]);
        Self { plain, inner, first, last_pin: sequence.pins.iter().map(|(at, _)| *at).max() }
    }

    /// A proposal for each of the `noisy` cells, from left to right; `written` tokens stand before the canvas.
    pub(crate) fn propose(
        &self,
        prediction: &dyn Prediction,
        noisy: &[usize],
        written: usize,
        rng: &StepRng,
    ) -> Result<Vec<Proposal>> {
        let request = |at: &usize| RowRequest { row: *at, draw: Draw::Key(rng.bits(*at, Purpose::Token)) };
        let requests: Vec<_> = noisy.iter().map(request).collect();
        let inner = noisy.partition_point(|at| self.last_pin.is_some_and(|pin| at + written < pin));
        let begins = written == 0 && noisy.first() == Some(&0);
        let (mut proposals, mut from) = (Vec::with_capacity(requests.len()), 0);
        if let (Some(first), true) = (&self.first, begins) {
            proposals = prediction.propose(&requests[..1], &first[usize::from(inner == 0)])?;
            from = 1;
        }
        let inner = inner.max(from);
        for (range, transform) in [(from..inner, &self.inner), (inner..requests.len(), &self.plain)] {
            if !range.is_empty() {
                proposals.extend(prediction.propose(&requests[range], transform)?);
            }
        }
        Ok(proposals)
    }
}
