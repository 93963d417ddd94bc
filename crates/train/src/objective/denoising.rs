//! The simple denoising loss: plain cross-entropy of the clean tokens, given the text with a part of it replaced by uniform
//! draws. It weighs all times alike and is no bound.
//!
//! DiffusionGemma's training (huggingface/trl `sft_diffusion_gemma.py`): every cell counts, replaced or not, so the network
//! learns p(x_0 | x_t), which weighs the token held. With `noised_only` the cells that survive do not count (Simple Denoising
//! Diffusion Language Models, Zhu et al. 2025, arXiv 2510.22926). There a draw that hits the clean token again counts, too:
//! then the token held says nothing about its cell, and the network learns the clean token that the bound asks for.
//!
//! Deviations: the times are stratified over the rows on [`super::T_MIN`], [`super::T_MAX`]; the mask is never drawn; the loss
//! is per scored token, also where only the replaced ones count. A model is measured by the bound of its noise instead.

use serde::{Deserialize, Serialize};

use lldm_diffusion::StepRng;
use lldm_diffusion::noise::registry::SCHEDULE;
use lldm_diffusion::registry::{Kind, Parameter};
use lldm_models::{Answers, Attention, NoiseConfig, Trunk};

use super::elbo::check;
use super::loss::{Loss, Measures, Objective, Rows, score};
use super::noised::Noised;
use super::registry::Spec;
use super::uniform::uniform_noise;
use crate::error::Result;

/// The registry's entry.
pub(super) const SPEC: Spec = Spec {
    name: "denoising",
    aliases: &["simple"],
    presets: &[],
    summary: "plain cross-entropy under uniform noise; not a bound",
    paper: "Zhu et al. 2025, arXiv 2510.22926, and DiffusionGemma's training",
    parameters: &[
        SCHEDULE,
        Parameter {
            name: "noised_only",
            kind: Kind::Flag,
            default: "false",
            help: "whether only the cells that noise replaced count",
        },
    ],
    build: |values| Ok(Box::new(Denoising(serde_json::from_value(values)?))),
};

/// The settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenoisingConfig {
    /// The name of the noise schedule.
    pub schedule: String,
    /// Whether only the cells that noise replaced count.
    pub noised_only: bool,
}

/// The objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Denoising(pub DenoisingConfig);

impl Default for DenoisingConfig {
    fn default() -> Self {
        Self { schedule: "linear".to_string(), noised_only: false }
    }
}

impl Objective for Denoising {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn attention(&self) -> Attention {
        Attention::Full
    }

    fn noise(&self) -> NoiseConfig {
        uniform_noise(&self.0.schedule)
    }

    fn answers(&self) -> Answers {
        if self.0.noised_only { Answers::Clean } else { Answers::Posterior }
    }

    fn takes_time(&self) -> bool {
        true
    }

    fn measures(&self) -> Measures {
        Measures::Neither
    }

    fn loss(&self, trunk: &Trunk, rows: &Rows<'_>, rng: &StepRng) -> Result<Loss> {
        check(self, trunk)?;
        let noised = Noised::spread(rows, trunk.noise(), None, rng);
        let logits = noised.logits(trunk, rows, None)?;
        let weight = |drawn: &bool| if *drawn || !self.0.noised_only { 1.0 } else { 0.0 };
        let targets = noised.cells.iter().zip(&noised.drawn).map(|(cell, drawn)| (cell.clean, weight(drawn)));
        score(trunk, &logits, targets, rows.scored_tokens())
    }
}
