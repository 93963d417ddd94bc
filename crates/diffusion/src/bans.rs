//! What no cell of a sequence may hold, and the proposals that follow: the mask nowhere, the end tokens not left of a cell
//! that is given, some pieces not in the first cell.

use crate::canvas::Token;
use crate::contract::LogitTransform;
use crate::denoiser::DenoiserInfo;
use crate::error::Result;
use crate::generate::Sequence;
use crate::noise::Noise;
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
    pub(crate) fn new(transform: &LogitTransform, info: &DenoiserInfo, noise: &dyn Noise, sequence: &Sequence) -> Self {
        let with = |transform: &LogitTransform, banned: &[Token]| {
            let mut transform = transform.clone();
            transform.banned.extend(banned);
            transform
        };
        // What is neither text nor noise: the mask, also where a process of uniform draws leaves it out.
        let mask = info.mask.or(noise.not_text());
        let plain = with(transform, mask.as_slice());
        let inner = with(&plain, &info.end);
        let banned = &sequence.first_banned;
        let first = (!banned.is_empty()).then(|| [with(&inner, banned), with(&plain, banned)]);
        Self { plain, inner, first, last_pin: sequence.pins.iter().map(|(at, _)| *at).max() }
    }

    /// Changes every transform: what a step brings along.
    pub(crate) fn change(&mut self, with: impl Fn(&mut LogitTransform)) {
        let first = self.first.iter_mut().flatten();
        [&mut self.plain, &mut self.inner].into_iter().chain(first).for_each(with);
    }

    /// A proposal for each of the `cells` (with the token that it holds, where that matters), from left to right; `written`
    /// tokens stand before the canvas.
    pub(crate) fn propose(
        &self,
        prediction: &dyn Prediction,
        cells: &[(usize, Option<Token>)],
        written: usize,
        rng: &StepRng,
    ) -> Result<Vec<Proposal>> {
        let request = |(at, held): &(usize, Option<Token>)| RowRequest {
            row: *at,
            draw: Draw::Key(rng.bits(*at, Purpose::Token)),
            held: *held,
        };
        let requests: Vec<_> = cells.iter().map(request).collect();
        let inner = cells.partition_point(|(at, _)| self.last_pin.is_some_and(|pin| at + written < pin));
        let begins = written == 0 && cells.first().is_some_and(|(at, _)| *at == 0);
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
