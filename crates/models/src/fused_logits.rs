//! The answer of a network on the CPU: logits in host memory, reduced by the fused pass of `lldm-kernels`.
//!
//! It says what [`Logits`], the float64 reference, says: the same draws, the same tokens kept by top-k and top-p, numbers that
//! agree to 1e-6 and likelihoods that agree to 1e-12. What is asked of single rows in float64 alone (bounds, mixed posteriors,
//! draws with given uniforms), and rows in which no token is allowed or one has no bound, go to the reference itself.

use std::any::Any;
use std::borrow::Cow;

use rayon::prelude::*;

use lldm_diffusion::noise::Noise;
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::vocabulary::{
    BoundTerms, ClassStat, Draw, NoisedCell, bound_terms, class_stats, reduce, reduce_mixed,
};
use lldm_diffusion::{
    Compat, Error, LogitTransform, Logits, PosteriorMix, Prediction, Proposal, Result, Statistics, Token,
};
use lldm_kernels::vocab::{self, Change, Classes, Request, Summary, Transform, class_summaries, soft_cap_in_place};

use crate::nn::Part;

/// Logits `[L, V]` that the fused pass reduces.
#[derive(Clone, Debug, PartialEq)]
pub struct FusedLogits {
    logits: Logits,
    soft_cap: Option<f32>,
}

/// Below it the reference draws: its reciprocal is beyond f32.
const LOWEST_TEMPERATURE: f64 = 1e-30;

impl FusedLogits {
    /// Wraps row-major `[L, V]` logits.
    pub fn new(values: Vec<f32>, vocabulary: usize) -> Result<Self> {
        Ok(Self { logits: Logits::new(values, vocabulary)?, soft_cap: None })
    }

    /// The same with `cap · tanh(logit / cap)` for each logit, which is applied inside the pass (Gemma's final soft-capping).
    /// Minus infinity stays.
    pub fn with_soft_cap(self, cap: f32) -> Result<Self> {
        if !(cap > 0.0 && cap.is_finite()) {
            return Err(Error::Contract {
                message: format!("logits cannot be capped at {cap}: it must be a positive number"),
            });
        }
        Ok(Self { soft_cap: Some(cap), ..self })
    }

    /// The V logits of one row.
    pub fn row(&self, row: usize) -> Cow<'_, [f32]> {
        let logits = self.logits.row(row);
        let Some(cap) = self.soft_cap else { return Cow::Borrowed(logits) };
        let mut capped = logits.to_vec();
        soft_cap_in_place(&mut capped, cap);
        Cow::Owned(capped)
    }

    /// The size of the vocabulary V.
    pub fn vocabulary(&self) -> usize {
        self.logits.vocabulary()
    }

    /// The logits without any cap to come.
    fn plain(&self) -> Result<Cow<'_, Logits>> {
        let Some(cap) = self.soft_cap else { return Ok(Cow::Borrowed(&self.logits)) };
        let mut values = self.logits.values().to_vec();
        soft_cap_in_place(&mut values, cap);
        Ok(Cow::Owned(Logits::new(values, self.vocabulary())?))
    }
}

impl Prediction for FusedLogits {
    fn rows(&self) -> usize {
        self.logits.rows()
    }

    fn propose(&self, requests: &[RowRequest<'_>], transform: &LogitTransform) -> Result<Vec<Proposal>> {
        transform.check()?;
        let reference =
            |request: &RowRequest<'_>| reduce(&self.row(request.row), transform, request.draw, request.held);
        if transform.temperature > 0.0 && transform.temperature < LOWEST_TEMPERATURE {
            return Ok(requests.iter().map(reference).collect());
        }
        let changes = changes(transform);
        let fused = fused_transform(transform, self.soft_cap, &changes);
        let asked: Vec<_> = requests.iter().map(fused_request).collect();
        let pass = || vocab::reduce(self.logits.values(), self.vocabulary(), &asked, &fused);
        let summaries = Part::Vocabulary.time(pass);
        let answer = |(request, summary): (&RowRequest<'_>, &Summary)| match request.draw {
            Draw::Uniforms(_) => reference(request),
            Draw::Argmax | Draw::Key(_) if summary.max.is_finite() => proposal(summary),
            Draw::Argmax | Draw::Key(_) => reference(request),
        };
        Ok(requests.iter().zip(&summaries).map(answer).collect())
    }

    fn log_probabilities(&self, targets: &[(usize, Token)], transform: &LogitTransform) -> Result<Vec<f64>> {
        transform.check()?;
        self.logits.check_tokens(targets.iter().map(|target| target.1))?;
        let changes = changes(transform);
        let fused = Transform { temperature: 1.0, ..fused_transform(transform, self.soft_cap, &changes) };
        Ok(vocab::log_probabilities(self.logits.values(), self.vocabulary(), targets, &fused))
    }

    fn bound_terms(
        &self,
        cells: &[NoisedCell],
        noise: &dyn Noise,
        t: f64,
        transform: &LogitTransform,
    ) -> Result<Vec<BoundTerms>> {
        self.logits.check_tokens(cells.iter().map(|cell| cell.clean))?;
        Ok(cells.par_iter().map(|cell| bound_terms(&self.row(cell.row), transform, noise, cell, t)).collect())
    }

    fn class_stats(
        &self,
        class_of: &[u16],
        classes: usize,
        rows: &[(usize, u64)],
        transform: &LogitTransform,
    ) -> Result<Vec<Vec<ClassStat>>> {
        transform.check()?;
        let fits = class_of.len() == self.vocabulary() && rows.iter().all(|(row, _)| *row < self.rows());
        // What top-k and top-p leave out is drawn at a price there.
        let filtered = transform.top_k > 0 || transform.top_p < 1.0;
        if !fits || filtered || (transform.temperature > 0.0 && transform.temperature < LOWEST_TEMPERATURE) {
            return self.plain()?.class_stats(class_of, classes, rows, transform);
        }
        let changes = changes(transform);
        let fused = fused_transform(transform, self.soft_cap, &changes);
        let partition = Classes { of: class_of, count: classes };
        let pass = || class_summaries(self.logits.values(), self.vocabulary(), rows, partition, &fused);
        let summaries = Part::Vocabulary.time(pass);
        let answer = |((row, key), summaries): (&(usize, u64), Vec<vocab::ClassSummary>)| {
            if summaries.iter().any(|class| class.log_sum.is_nan()) {
                return class_stats(&self.row(*row), transform, class_of, classes, *key);
            }
            summaries.into_iter().map(class_stat).collect()
        };
        Ok(rows.iter().zip(summaries).map(answer).collect())
    }

    fn away_from(&self, other: &dyn Prediction, scale: f64) -> Result<Box<dyn Prediction>> {
        let any = other.as_any();
        let away = match any.downcast_ref::<Self>() {
            Some(other) => self.plain()?.away_from(other.plain()?.as_ref(), scale)?,
            None => self.plain()?.away_from(other, scale)?,
        };
        let away: Box<dyn Any> = away;
        match away.downcast::<Logits>() {
            Ok(logits) => Ok(Box::new(Self { logits: *logits, soft_cap: None })),
            Err(_) => Err(Error::Contract { message: "plain logits moved are no plain logits".to_string() }),
        }
    }

    fn propose_mixed(
        &self,
        other: &dyn Prediction,
        mix: &PosteriorMix<'_>,
        requests: &[RowRequest<'_>],
        transform: &LogitTransform,
    ) -> Result<Vec<Proposal>> {
        transform.check()?;
        let alike = |other: &&Self| other.rows() == self.rows() && other.vocabulary() == self.vocabulary();
        let Some(other) = other.as_any().downcast_ref::<Self>().filter(alike) else {
            return self.plain()?.propose_mixed(other, mix, requests, transform);
        };
        let one = |request: &RowRequest<'_>| {
            reduce_mixed(&self.row(request.row), &other.row(request.row), transform, mix, request)
        };
        Ok(requests.par_iter().map(one).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What happens to single tokens, token by token.
fn changes(transform: &LogitTransform) -> Vec<Change> {
    let penalised = transform.repetition_penalty != 1.0;
    let none = Change { token: 0, banned: false, penalised: false, bias: 0.0 };
    let banned = transform.banned.iter().map(|token| Change { token: *token, banned: true, ..none });
    let seen = transform.seen.iter().filter(|_| penalised).map(|token| Change { token: *token, penalised, ..none });
    let biased = transform.bias.iter().map(|(token, bias)| Change { token: *token, bias: *bias, ..none });
    let mut changes: Vec<_> = banned.chain(seen).chain(biased).collect();
    // Stable, so that several biases of a token are added in their order.
    changes.sort_by_key(|change| change.token);
    changes.dedup_by(|next, change| {
        let same = next.token == change.token;
        if same {
            change.banned |= next.banned;
            change.penalised |= next.penalised;
            change.bias += next.bias;
        }
        same
    });
    changes
}

fn fused_transform<'a>(transform: &LogitTransform, soft_cap: Option<f32>, changes: &'a [Change]) -> Transform<'a> {
    Transform {
        soft_cap,
        penalty: transform.repetition_penalty,
        changes,
        temperature: transform.temperature,
        top_k: transform.top_k,
        top_p: transform.top_p,
        before_crossing: transform.compat == Compat::Reference,
        drawn_statistics: transform.statistics == Statistics::Transformed,
    }
}

fn fused_request(request: &RowRequest<'_>) -> Request {
    let key = match request.draw {
        Draw::Key(key) => Some(key),
        Draw::Argmax | Draw::Uniforms(_) => None,
    };
    Request { row: request.row, key, held: request.held, top: 0 }
}

fn proposal(summary: &Summary) -> Proposal {
    Proposal {
        token: summary.token,
        probability: summary.probability,
        entropy: summary.entropy,
        margin: summary.margin,
        best: summary.best,
        best_probability: summary.best_probability,
        held: summary.held,
    }
}

fn class_stat(class: vocab::ClassSummary) -> ClassStat {
    let vocab::ClassSummary { log_sum, entropy, best, log_best, log_second, drawn, log_drawn } = class;
    ClassStat { log_sum, entropy, best, log_best, log_second, drawn, log_drawn }
}
