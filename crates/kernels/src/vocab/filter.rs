//! Top-k and exact top-p: where a row is cut, what is left of it, and the race among that.
//!
//! After top-k the few tokens left are at hand. Top-p over a whole row is the business of [`super::nucleus`].

use super::exp64::exp64;
use super::nucleus::nucleus;
use super::race::Race;
use super::sums::Sums;
use super::top::top;
use super::transform::{Ranked, Row, Transform};
use super::walk::Found;

/// The tokens before it are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    token: Ranked,
    /// Whether it is kept itself.
    inclusive: bool,
}

/// What top-k and top-p leave of a row.
pub(super) struct Left {
    /// None where everything is kept.
    pub(super) cut: Option<Cut>,
    /// The sums over what is kept, at the temperature of the draw.
    pub(super) sums: Sums,
}

/// The probability that top-p wants, in weights.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) weight: f64,
    /// Whether the token that brings the sum beyond it is left out, and not the one that brings the sum to it the last kept.
    pub(super) before_crossing: bool,
}

/// Cuts a row that the first walk has seen; what is left enters the race.
pub(super) fn filter(row: &Row<'_>, found: &Found, race: Option<&mut Race>) -> Left {
    let transform = row.transform();
    if !transform.cuts_to_top_k(row.vocabulary()) {
        return nucleus(row, found, race);
    }
    let mut tokens = top(row, transform.top_k, &found.maxima);
    let mut sums = Sums::new(transform.filter_temperature());
    sums.max = found.best.logit;
    let weight = |token: &Ranked| exp64(sums.exponent(token.logit).max(-700.0));
    let cut = if transform.top_p < 1.0 {
        let weight_sum = tokens.iter().map(weight).sum::<f64>();
        let wanted = Wanted::new(transform, weight_sum);
        crossing(&mut tokens, 0.0, wanted, weight).map(|token| Cut::at(token, &found.best, wanted))
    } else {
        tokens.iter().copied().max_by(Ranked::order).map(|token| Cut { token, inclusive: true })
    };
    tokens.retain(|token| cut.is_none_or(|cut| cut.keeps(token)));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for token in &tokens {
        sum += weight(token);
        weighted += weight(token) * sums.exponent(token.logit).max(-700.0);
    }
    (sums.sum, sums.weighted) = (sum, weighted);
    if let Some(race) = race {
        for token in &tokens {
            race.enter(*token);
        }
    }
    Left { cut, sums }
}

/// The token with which the sum of weights crosses what is wanted, the weight of all tokens before these being `sum`. The
/// tokens change places; only those near the crossing are sorted.
pub(super) fn crossing(
    tokens: &mut [Ranked],
    sum: f64,
    wanted: Wanted,
    weight: impl Fn(&Ranked) -> f64,
) -> Option<Ranked> {
    let (mut sum, mut from, mut to) = (sum, 0, tokens.len());
    while to - from > 32 {
        let middle = (to - from) / 2;
        tokens[from..to].select_nth_unstable_by(middle, Ranked::order);
        let half = sum + tokens[from..=from + middle].iter().map(&weight).sum::<f64>();
        if wanted.is_crossed(half) {
            to = from + middle + 1;
        } else {
            (from, sum) = (from + middle + 1, half);
        }
    }
    tokens[from..to].sort_unstable_by(Ranked::order);
    tokens[from..to].iter().copied().find(|token| {
        sum += weight(token);
        wanted.is_crossed(sum)
    })
}

impl Transform<'_> {
    /// Whether top-k cuts something off V tokens.
    pub(super) fn cuts_to_top_k(&self, vocabulary: usize) -> bool {
        self.top_k > 0 && self.top_k < vocabulary
    }

    /// Whether top-k or top-p cut something off V tokens.
    pub(super) fn cuts(&self, vocabulary: usize) -> bool {
        self.cuts_to_top_k(vocabulary) || self.top_p < 1.0
    }
}

impl Wanted {
    /// What top-p wants of this weight.
    pub(super) fn new(transform: &Transform<'_>, weight: f64) -> Self {
        Self { weight: transform.top_p * weight, before_crossing: transform.before_crossing }
    }

    pub(super) fn is_crossed(&self, sum: f64) -> bool {
        if self.before_crossing { sum > self.weight } else { sum >= self.weight }
    }
}

impl Cut {
    /// The cut at the token of the crossing. The best token is always kept.
    pub(super) fn at(token: Ranked, best: &Ranked, wanted: Wanted) -> Self {
        Self { token, inclusive: !wanted.before_crossing || token.token == best.token }
    }

    /// The cut behind a token.
    pub(super) fn behind(token: Ranked) -> Self {
        Self { token, inclusive: true }
    }

    pub(super) fn keeps(&self, token: &Ranked) -> bool {
        token.before(&self.token) || (self.inclusive && token.token == self.token.token)
    }
}
