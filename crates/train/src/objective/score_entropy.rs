//! Score entropy: the network answers with ln of the concrete scores p_t(j) / p_t(z).
//!
//! SEDD, Lou et al. 2024 (arXiv 2310.16834), equation 9 and theorem 3.6; reference: louaaron/Score-Entropy-Discrete-Diffusion
//! `graph_lib.py`, `losses.py`. A cell that holds z costs, at the rate with which noise arrives at z, the sum over j != z of
//! s_j - r_j ln s_j + r_j (ln r_j - 1), with r_j = q_t(j | x) / q_t(z | x). Over the whole time this is the same bound as that of
//! the closed form, with a head of its own. What the integral leaves out is added as there; only that the reconstruction
//! under uniform noise takes the noisy marginal s / sum of s for the clean token, which at [`super::T_MIN`] it nearly is, because
//! taking the noise out of scores that no text has would leave impossible tokens.
//!
//! As in the reference the score of the token held is 1, and under absorbing noise the outputs are brought to the size of a
//! score by the factor alpha / ((1 - alpha) N); under uniform noise they are ln of the scores as they are. Deviations: uniform
//! noise leaves out the mask, and the time runs over [`super::T_MIN`], [`super::T_MAX`] in strata, where the reference draws
//! it by itself for each row on [1e-3, 1].

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use lldm_diffusion::noise::registry::SCHEDULE;
use lldm_diffusion::registry::{Kind, Parameter};
use lldm_diffusion::{Noise, StepRng};
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};

use super::closed_form::NoisedCell;
use super::elbo::{check, integrate, remainder};
use super::loss::{Loss, Measures, Objective, Rows};
use super::registry::Spec;
use super::row_loss::RowLoss;
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "score_entropy",
    aliases: &["sedd"],
    presets: &[],
    summary: "ratios of noisy probabilities, by score entropy; a bound",
    paper: "SEDD, Lou et al. 2024, arXiv 2310.16834",
    parameters: &[
        Parameter {
            name: "noise",
            kind: Kind::Choice(&["absorbing", "uniform"]),
            default: "\"absorbing\"",
            help: "what a token becomes: the mask, or a uniform draw",
        },
        Parameter { default: "\"log_linear\"", ..SCHEDULE },
    ],
    build: |values| Ok(Box::new(ScoreEntropy(serde_json::from_value(values)?))),
};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreEntropyConfig {
    /// What a token becomes.
    pub noise: ScoreNoise,
    /// The name of the noise schedule.
    pub schedule: String,
}

/// What a token becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreNoise {
    /// The mask.
    #[default]
    Absorbing,
    /// A uniform draw.
    Uniform,
}

/// The objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreEntropy(pub ScoreEntropyConfig);

/// A cell's numbers, ready for a pass over its outputs.
struct ScoreCell {
    clean: usize,
    held: usize,
    /// q_t(z | x).
    seen: f64,
    /// alpha.
    alpha: f64,
    /// What the noise gives to each token of a text.
    share: f64,
    /// A token that no text holds.
    zero: Option<usize>,
    /// The rate of arrival times the factor of the loss.
    weight: f64,
    /// Added to the outputs to make them ln of a score.
    shift: f64,
}

/// The score entropy of a cell in nats per unit of time, the rate included, from the V outputs of its network.
pub fn score_entropy(noise: &dyn Noise, outputs: &[f64], cell: &NoisedCell) -> f64 {
    ScoreCell::new(noise, outputs.len(), cell, 1.0).value(outputs)
}

/// What is added to the outputs at t, over `vocabulary` entries, to make them ln of scores.
pub fn score_shift(noise: &dyn Noise, vocabulary: usize, t: f64) -> f64 {
    let marginal = noise.marginal(t);
    match noise.alphabet() {
        Some(_) => 0.0,
        None => (marginal.alpha / marginal.mask).ln() - (vocabulary as f64 - 1.0).ln(),
    }
}

impl Default for ScoreEntropyConfig {
    fn default() -> Self {
        Self { noise: ScoreNoise::default(), schedule: "log_linear".to_string() }
    }
}

impl Objective for ScoreEntropy {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::Full
    }

    fn noise(&self) -> NoiseConfig {
        let name = match self.0.noise {
            ScoreNoise::Absorbing => "masked",
            ScoreNoise::Uniform => "uniform",
        };
        let parameters = Map::from_iter([("schedule".to_string(), json!(self.0.schedule))]);
        NoiseConfig { name: name.to_string(), parameters }
    }

    fn answers(&self) -> Answers {
        Answers::Score
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn measures(&self) -> Measures {
        Measures::Bound
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        check(self, trunk)?;
        let vocabulary = trunk.config().vocab_size;
        integrate(trunk, rows, None, rng, |cell, share| ScoreCell::new(trunk.noise(), vocabulary, cell, share))
    }

    fn remainder(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<f64> {
        check(self, trunk)?;
        remainder(trunk, rows, None, rng, |outputs, cell| {
            if let Some(own) = outputs.get_mut(cell.held as usize) {
                *own = 0.0;
            }
        })
    }
}

impl ScoreCell {
    fn new(noise: &dyn Noise, vocabulary: usize, cell: &NoisedCell, factor: f64) -> Self {
        let marginal = noise.marginal(cell.time);
        let own = if cell.held == cell.clean { marginal.alpha } else { 0.0 };
        Self {
            clean: cell.clean as usize,
            held: cell.held as usize,
            seen: own + noise.noise_at(marginal, cell.held),
            alpha: marginal.alpha,
            share: noise.alphabet().map_or(0.0, |alphabet| marginal.uniform * alphabet.share(cell.clean)),
            zero: noise.not_text().map(|token| token as usize),
            weight: factor * noise.arrival_rate(cell.held, cell.time),
            shift: score_shift(noise, vocabulary, cell.time),
        }
    }

    /// (token, ln s, r) of every other token that text can hold.
    fn others<'a>(&'a self, outputs: &'a [f64]) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
        let counts = |token: usize| token != self.held && self.zero != Some(token);
        let score = |(token, output): (usize, &f64)| {
            let mass = self.share + if token == self.clean { self.alpha } else { 0.0 };
            (token, output + self.shift, mass / self.seen)
        };
        outputs.iter().enumerate().filter(move |(token, _)| counts(*token)).map(score)
    }
}

impl RowLoss for ScoreCell {
    const NAME: &'static str = "score_entropy";

    fn value(&self, outputs: &[f64]) -> f64 {
        if self.weight == 0.0 {
            return 0.0;
        }
        let term = |(_, log_score, ratio): (usize, f64, f64)| match ratio > 0.0 {
            true => log_score.exp() - ratio * log_score + ratio * (ratio.ln() - 1.0),
            false => log_score.exp(),
        };
        self.weight * self.others(outputs).map(term).sum::<f64>()
    }

    fn gradient(&self, outputs: &[f64], scale: f64, out: &mut [f64]) {
        if self.weight != 0.0 {
            for (token, log_score, ratio) in self.others(outputs) {
                out[token] += scale * self.weight * (log_score.exp() - ratio);
            }
        }
    }
}
