//! What a denoiser answers, and the little that a sampler sees of it.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::canvas::Token;
use crate::contract::LogitTransform;
use crate::error::{Error, Result};
use crate::noise::Noise;
use crate::vocabulary::{
    BoundTerms, ClassStat, Draw, NoisedCell, bound_terms, class_stats, log_probability, reduce, reduce_mixed,
};

/// What a denoiser says about one cell, reduced from V logits. [`crate::contract::Statistics`] says of which distribution
/// the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The token drawn.
    pub token: Token,
    /// Its probability.
    pub probability: f64,
    /// The entropy of the distribution in nats.
    pub entropy: f64,
    /// The probability of the most probable token minus that of the second.
    pub margin: f64,
    /// The most probable token.
    pub best: Token,
    /// Its probability.
    pub best_probability: f64,
    /// The probability of the token that the cell holds; 0 where it was not asked for.
    pub held: f64,
}

/// What is asked of one row.
#[derive(Clone, Copy, Debug)]
pub struct RowRequest<'a> {
    /// The row, 0 to L.
    pub row: usize,
    /// How its token is chosen.
    pub draw: Draw<'a>,
    /// The token that the cell holds, where its probability is wanted.
    pub held: Option<Token>,
}

/// Two reverse posteriors of one step mixed in logarithms: q^(1 + scale) / q'^scale, renormalised (see [`reduce_mixed`]).
#[derive(Clone, Copy)]
pub struct PosteriorMix<'a> {
    /// The scale s; 0 leaves the first posterior as it is.
    pub scale: f64,
    /// The forward process.
    pub noise: &'a dyn Noise,
    /// Where the step starts.
    pub t: f64,
    /// Where it ends.
    pub s: f64,
    /// The L tokens that the cells hold.
    pub held: &'a [Token],
    /// Whether the predictions weigh the token held (see [`crate::DenoiserInfo::weighs_held`]).
    pub weighs_held: bool,
}

/// The answer of a denoiser: distributions over V tokens for L cells, which stay where they were computed until they
/// are reduced.
pub trait Prediction: Any + Send + Sync {
    /// The number of rows L.
    fn rows(&self) -> usize;

    /// One pass over the logits of each row asked for.
    fn propose(&self, requests: &[RowRequest<'_>], transform: &LogitTransform) -> Result<Vec<Proposal>>;

    /// ln p(token) of each (row, token), at temperature 1 after bans and biases.
    fn log_probabilities(&self, targets: &[(usize, Token)], transform: &LogitTransform) -> Result<Vec<f64>>;

    /// The terms of the likelihood bound of cells noised by `noise` until t, after bans and biases.
    fn bound_terms(
        &self,
        cells: &[NoisedCell],
        noise: &dyn Noise,
        t: f64,
        transform: &LogitTransform,
    ) -> Result<Vec<BoundTerms>>;

    /// Class statistics of rows, each with the key of its draws.
    fn class_stats(
        &self,
        class_of: &[u16],
        classes: usize,
        rows: &[(usize, u64)],
        transform: &LogitTransform,
    ) -> Result<Vec<Vec<ClassStat>>>;

    /// (1 + scale) * self - scale * other, in logits: the step that guidance takes away from `other`.
    fn away_from(&self, other: &dyn Prediction, scale: f64) -> Result<Box<dyn Prediction>>;

    /// Proposals for what the cells hold after a step, drawn from the mixed posteriors of this prediction and `other`. All numbers
    /// are those of the mixture, of which [`RowRequest::held`] names the token whose probability is wanted.
    fn propose_mixed(
        &self,
        other: &dyn Prediction,
        mix: &PosteriorMix<'_>,
        requests: &[RowRequest<'_>],
        transform: &LogitTransform,
    ) -> Result<Vec<Proposal>>;

    /// For families that read their own earlier answer (self-conditioning).
    fn as_any(&self) -> &dyn Any;
}

/// A prediction whose logits lie in host memory: `values` is row-major [L, V].
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    vocabulary: usize,
}

impl Logits {
    /// Wraps row-major [L, V] logits.
    pub fn new(values: Vec<f32>, vocabulary: usize) -> Result<Self> {
        if vocabulary == 0 || !values.len().is_multiple_of(vocabulary) {
            return Err(Error::Contract {
                message: format!("{} logits are not rows of a vocabulary of {vocabulary}", values.len()),
            });
        }
        Ok(Self { values, vocabulary })
    }

    /// The V logits of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocabulary..(row + 1) * self.vocabulary]
    }

    /// All logits, row-major [L, V].
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The size of the vocabulary V.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The other prediction, if it has the same rows over the same vocabulary.
    fn alike<'a>(&self, other: &'a dyn Prediction) -> Result<&'a Self> {
        let other = other
            .as_any()
            .downcast_ref::<Self>()
            .filter(|other| other.values.len() == self.values.len() && other.vocabulary == self.vocabulary);
        other.ok_or_else(|| Error::Contract { message: "guidance joins predictions of different kinds".to_string() })
    }

    /// Fails at the first token that is none of the V.
    pub fn check_tokens(&self, mut tokens: impl Iterator<Item = Token>) -> Result<()> {
        let vocabulary = self.vocabulary;
        match tokens.find(|token| *token as usize >= vocabulary) {
            Some(token) => Err(Error::Vocabulary { token, vocabulary }),
            None => Ok(()),
        }
    }
}

impl Prediction for Logits {
    fn rows(&self) -> usize {
        self.values.len() / self.vocabulary
    }

    fn propose(&self, requests: &[RowRequest<'_>], transform: &LogitTransform) -> Result<Vec<Proposal>> {
        Ok(requests
            .iter()
            .map(|request| reduce(self.row(request.row), transform, request.draw, request.held))
            .collect())
    }

    fn log_probabilities(&self, targets: &[(usize, Token)], transform: &LogitTransform) -> Result<Vec<f64>> {
        self.check_tokens(targets.iter().map(|target| target.1))?;
        Ok(targets.iter().map(|(row, token)| log_probability(self.row(*row), transform, *token)).collect())
    }

    fn bound_terms(
        &self,
        cells: &[NoisedCell],
        noise: &dyn Noise,
        t: f64,
        transform: &LogitTransform,
    ) -> Result<Vec<BoundTerms>> {
        self.check_tokens(cells.iter().map(|cell| cell.clean))?;
        Ok(cells.iter().map(|cell| bound_terms(self.row(cell.row), transform, noise, cell, t)).collect())
    }

    fn class_stats(
        &self,
        class_of: &[u16],
        classes: usize,
        rows: &[(usize, u64)],
        transform: &LogitTransform,
    ) -> Result<Vec<Vec<ClassStat>>> {
        if class_of.len() != self.vocabulary || rows.iter().any(|(row, _)| *row >= self.rows()) {
            return Err(Error::Contract {
                message: format!(
                    "a class map of {} tokens does not fit a prediction of {} rows over {} tokens",
                    class_of.len(),
                    self.rows(),
                    self.vocabulary
                ),
            });
        }
        let one = |(row, key): &(usize, u64)| class_stats(self.row(*row), transform, class_of, classes, *key);
        Ok(rows.iter().map(one).collect())
    }

    fn away_from(&self, other: &dyn Prediction, scale: f64) -> Result<Box<dyn Prediction>> {
        let other = self.alike(other)?;
        let scale = scale as f32;
        // What is impossible stays impossible, also where both are minus infinity.
        let away = |with: f32, without: f32| {
            if with == f32::NEG_INFINITY { with } else { with + scale * (with - without) }
        };
        let values = self.values.iter().zip(&other.values).map(|(with, without)| away(*with, *without)).collect();
        Ok(Box::new(Self { values, vocabulary: self.vocabulary }))
    }

    fn propose_mixed(
        &self,
        other: &dyn Prediction,
        mix: &PosteriorMix<'_>,
        requests: &[RowRequest<'_>],
        transform: &LogitTransform,
    ) -> Result<Vec<Proposal>> {
        let other = self.alike(other)?;
        let one = |request: &RowRequest<'_>| {
            reduce_mixed(self.row(request.row), other.row(request.row), transform, mix, request)
        };
        Ok(requests.iter().map(one).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
