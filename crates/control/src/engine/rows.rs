//! The cells of a canvas as the chain takes them: from class statistics, what cells lean to, and what they hold.

use lldm_diffusion::vocabulary::ClassStat;
use lldm_diffusion::{Cell, ConstraintView, Lean, Token};

use crate::automaton::TokenAutomaton;
use crate::chain::Row;

/// ln of the probability that a token is given which the prediction excludes, where nothing else is left.
const LOG_FLOOR: f64 = -640.0;

/// A cell.
pub(super) enum CellRow {
    /// A token of this class stands there for good.
    Held(u16),
    /// What is known of it.
    Open(Box<OpenRow>),
}

/// An open cell. All probabilities are those of its classes and tokens after the lean, with the sum 1.
pub(super) struct OpenRow {
    /// ln of the probability of each class.
    pub(super) sums: Vec<f64>,
    /// ln of the probability of each class's most probable token.
    pub(super) best: Vec<f64>,
    stats: Vec<ClassStat>,
    lean: Option<(u16, Lean)>,
    /// ln of the sum before it was brought to 1.
    log_total: f64,
}

/// What to do about predictions that exclude what a text needs.
pub(super) struct Floors {
    /// A token of each class, where one may be written.
    pub(super) tokens: Vec<Option<Token>>,
}

impl CellRow {
    pub(super) fn row(&self) -> Row<'_> {
        match self {
            Self::Held(class) => Row::Held(*class),
            Self::Open(open) => Row::Free(&open.sums),
        }
    }

    pub(super) fn best(&self) -> Row<'_> {
        match self {
            Self::Held(class) => Row::Held(*class),
            Self::Open(open) => Row::Free(&open.best),
        }
    }
}

impl OpenRow {
    /// The token drawn of a class, where `uniform` decides between that of the statistics and the one that is leant to.
    pub(super) fn drawn(&self, class: u16, uniform: f64) -> Token {
        let stat = &self.stats[usize::from(class)];
        match self.lean {
            Some((own, lean)) if own == class => {
                let extra = (lean.log_extra - self.log_total - self.sums[usize::from(class)]).exp();
                if uniform < extra { lean.token } else { stat.drawn }
            }
            _ => stat.drawn,
        }
    }

    /// The most probable token of a class.
    pub(super) fn best_token(&self, class: u16) -> Token {
        let stat = &self.stats[usize::from(class)];
        match self.lean {
            Some((own, lean)) if own == class && leant(&lean) > stat.log_best => lean.token,
            _ => stat.best,
        }
    }

    /// The probability of a token given its class.
    pub(super) fn within(&self, class: u16, token: Token) -> f64 {
        let stat = &self.stats[usize::from(class)];
        let lean = self.lean.filter(|(own, lean)| *own == class && lean.token == token).map(|(_, lean)| lean);
        let log_p = match lean {
            Some(lean) if lean.log_extra > f64::NEG_INFINITY => leant(&lean),
            _ if token == stat.drawn => stat.log_drawn,
            _ if token == stat.best => stat.log_best,
            _ => lean.map_or(f64::NEG_INFINITY, |lean| lean.log_p),
        };
        (log_p - self.log_total - self.sums[usize::from(class)]).exp().min(1.0)
    }

    /// The probability of the second most probable token of a class given the class.
    pub(super) fn second(&self, class: u16) -> f64 {
        let stat = &self.stats[usize::from(class)];
        let second = match self.lean {
            Some((own, lean)) if own == class && leant(&lean) > stat.log_best => match lean.token == stat.best {
                true => stat.log_second,
                false => stat.log_best,
            },
            // The token that is leant to may be the second.
            Some((own, lean)) if own == class && lean.token != stat.best => stat.log_second.max(leant(&lean)),
            _ => stat.log_second,
        };
        (second - self.log_total - self.sums[usize::from(class)]).exp().min(1.0)
    }

    /// The entropy within a class, in nats.
    pub(super) fn entropy(&self, class: usize) -> f64 {
        match self.lean {
            // A part of the class is the token alone.
            Some((own, lean)) if usize::from(own) == class => {
                let extra = (lean.log_extra - self.log_total - self.sums[class]).exp().clamp(0.0, 1.0);
                let own = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
                // As if the token had no probability of its own: at most ln 2 too much.
                own(extra) + own(1.0 - extra) + (1.0 - extra) * self.stats[class].entropy
            }
            _ => self.stats[class].entropy,
        }
    }

    /// The most probable token of the cell, whatever the constraint.
    pub(super) fn likeliest(&self) -> Token {
        let best = self.stats.iter().max_by(|a, b| a.log_best.total_cmp(&b.log_best));
        best.map_or(0, |stat| stat.best)
    }
}

/// ln of the weight of the token that is leant to, before the sum is brought to 1.
fn leant(lean: &Lean) -> f64 {
    add(lean.log_p, lean.log_extra)
}

/// The cells of a canvas, as far as the text may reach.
pub(super) fn rows(
    view: &ConstraintView<'_>,
    count: usize,
    automaton: &TokenAutomaton,
    floors: Option<&Floors>,
) -> Vec<CellRow> {
    let class_of = |token: Token| automaton.class_of().get(token as usize).copied();
    let row = |at: usize| match view.canvas.cells()[at] {
        // A token beyond the vocabulary is nothing that a text holds: the class behind the last one.
        Cell::Fixed | Cell::Committed => {
            CellRow::Held(class_of(view.canvas.tokens()[at]).unwrap_or(automaton.classes() as u16))
        }
        Cell::Noisy | Cell::Draft => CellRow::Open(Box::new(open(view, at, automaton, floors))),
    };
    (0..count).map(row).collect()
}

fn open(view: &ConstraintView<'_>, at: usize, automaton: &TokenAutomaton, floors: Option<&Floors>) -> OpenRow {
    let mut stats = view.stats[at].clone();
    // Nothing that the cell may hold has any probability.
    let none = f64::NEG_INFINITY;
    for stat in stats.iter_mut().filter(|stat| stat.log_sum.is_nan()) {
        *stat = ClassStat { log_sum: none, entropy: 0.0, log_best: none, log_second: none, log_drawn: none, ..*stat };
    }
    if let Some(floors) = floors {
        for (class, stat) in stats.iter_mut().enumerate() {
            let ends = class == usize::from(automaton.end_class());
            if let (true, Some(token)) =
                (stat.log_sum < LOG_FLOOR && (!ends || at >= view.ends_from), floors.tokens[class])
            {
                *stat = ClassStat {
                    log_sum: LOG_FLOOR,
                    entropy: 0.0,
                    best: token,
                    log_best: LOG_FLOOR,
                    log_second: f64::NEG_INFINITY,
                    drawn: token,
                    log_drawn: LOG_FLOOR,
                };
            }
        }
    }
    let lean = view.leans[at].filter(|lean| !view.banned.contains(&lean.token));
    let lean = lean.and_then(|lean| Some((*automaton.class_of().get(lean.token as usize)?, lean)));
    let mut sums: Vec<f64> = stats.iter().map(|stat| stat.log_sum).collect();
    let mut best: Vec<f64> = stats.iter().map(|stat| stat.log_best).collect();
    let mut log_total = 0.0;
    if let Some((class, lean)) = &lean {
        let class = usize::from(*class);
        sums[class] = add(sums[class], lean.log_extra);
        best[class] = best[class].max(leant(lean));
        log_total = add(0.0, lean.log_extra);
        sums.iter_mut().chain(&mut best).for_each(|log| *log -= log_total);
    }
    OpenRow { sums, best, stats, lean, log_total }
}

/// ln(e^a + e^b).
fn add(a: f64, b: f64) -> f64 {
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}
