//! What no cell of a sequence may hold, and the proposals and class statistics that follow: the mask nowhere, the end tokens not
//! left of a cell that is given, some pieces not in the first cell.

use std::ops::Range;

use crate::canvas::Token;
use crate::contract::LogitTransform;
use crate::denoiser::DenoiserInfo;
use crate::error::Result;
use crate::generate::Sequence;
use crate::noise::Noise;
use crate::prediction::{Prediction, Proposal, RowRequest};
use crate::rng::{Purpose, StepRng};
use crate::vocabulary::{ClassStat, Draw};

/// How proposals for rows are got under a transform.
pub(crate) type Ask<'a> = &'a dyn Fn(&[RowRequest<'_>], &LogitTransform) -> Result<Vec<Proposal>>;

/// The transforms of a sequence's cells.
#[derive(Clone)]
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
        ask: Ask<'_>,
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
        let mut proposals = Vec::with_capacity(requests.len());
        for (range, transform) in self.parts(cells.iter().map(|(at, _)| *at), written, true) {
            proposals.extend(ask(&requests[range], transform)?);
        }
        Ok(proposals)
    }

    /// The class statistics of `rows` (each with the key of its draws), from left to right. What the first cell may not hold
    /// counts where `first` says so.
    pub(crate) fn class_stats(
        &self,
        prediction: &dyn Prediction,
        (class_of, classes): (&[u16], usize),
        rows: &[(usize, u64)],
        written: usize,
        first: bool,
    ) -> Result<Vec<Vec<ClassStat>>> {
        let mut stats = Vec::with_capacity(rows.len());
        for (range, transform) in self.parts(rows.iter().map(|(at, _)| *at), written, first) {
            stats.extend(prediction.class_stats(class_of, classes, &rows[range], transform)?);
        }
        Ok(stats)
    }

    /// The first cell of a canvas that may hold an end token, where `written` tokens stand before it.
    pub(crate) fn ends_from(&self, written: usize) -> usize {
        self.last_pin.map_or(0, |pin| pin.saturating_sub(written))
    }

    /// Whether the first cell has bans of its own.
    pub(crate) fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// The cells, from left to right, by their transforms.
    fn parts(
        &self,
        cells: impl ExactSizeIterator<Item = usize> + Clone,
        written: usize,
        first: bool,
    ) -> Vec<(Range<usize>, &LogitTransform)> {
        let count = cells.len();
        let inner = cells.clone().filter(|at| self.last_pin.is_some_and(|pin| at + written < pin)).count();
        let begins = first && written == 0 && cells.clone().next() == Some(0);
        let mut parts = Vec::new();
        let mut from = 0;
        if let (Some(first), true) = (&self.first, begins) {
            parts.push((0..1, &first[usize::from(inner == 0)]));
            from = 1;
        }
        let inner = inner.max(from);
        parts.extend([(from..inner, &self.inner), (inner..count, &self.plain)]);
        parts.retain(|(range, _)| !range.is_empty());
        parts
    }
}
