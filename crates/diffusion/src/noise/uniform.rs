//! Uniform noise: a token becomes a uniform draw, which nothing marks as noise.
//!
//! D3PM (Austin et al. 2021, section 3.1), UDLM (Schiff et al. 2024, arXiv 2412.10193), Duo (Sahoo et al. 2025), and
//! DiffusionGemma, whose draws are over the full vocabulary, special tokens included. The mask of a model that has one is
//! left out of the draws here.

use serde::{Deserialize, Serialize};

use super::registry::{SCHEDULE, Spec};
use super::{Alphabet, Marginal, Noise};
use crate::canvas::Token;
use crate::schedule::{self, Schedule};

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "uniform",
    aliases: &["udlm", "duo"],
    presets: &[],
    summary: "a token becomes a uniform draw from the vocabulary",
    paper: "UDLM, Schiff et al. 2024, arXiv 2412.10193",
    parameters: &[SCHEDULE],
    build: |values, space| {
        let UniformConfig { schedule } = serde_json::from_value(values)?;
        let alphabet = Alphabet { vocabulary: space.vocabulary, without: space.mask };
        Ok(Some(Box::new(Uniform { schedule: schedule::or_linear(&schedule), alphabet })))
    },
};

/// The settings of [`Uniform`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UniformConfig {
    /// The name of the schedule.
    pub schedule: String,
}

/// Each token survives until t with probability alpha(t), independently; otherwise it is a uniform draw.
pub struct Uniform<S> {
    /// alpha(t).
    pub schedule: S,
    /// The tokens that are drawn.
    pub alphabet: Alphabet,
}

impl<S: Schedule> Noise for Uniform<S> {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn marginal(&self, t: f64) -> Marginal {
        let alpha = self.schedule.alpha(t);
        Marginal { alpha, mask: 0.0, uniform: 1.0 - alpha }
    }

    fn slope(&self, t: f64) -> Marginal {
        let alpha = self.schedule.alpha_derivative(t);
        Marginal { alpha, mask: 0.0, uniform: -alpha }
    }

    fn mask(&self) -> Option<Token> {
        None
    }

    fn alphabet(&self) -> Option<Alphabet> {
        Some(self.alphabet)
    }
}
