//! Texts written by themselves or by particles.

use lldm_control::{Compiled, Scorer, Steering, SteeringConfig};
use lldm_diffusion::{
    GenerateConfig, Generation, Observer, ParticleConfig, Parts, Potential, Sequence, Token, Usage, generate,
    generate_particles,
};
use lldm_models::LoadedModel;

use crate::error::Result;
use crate::output::UsedParticles;

/// How many particles write a text, and what weighs them.
#[derive(Clone, Copy)]
pub(crate) struct Particles<'a> {
    pub(crate) count: usize,
    pub(crate) weighing: Weighing<'a>,
}

/// What weighs particles.
#[derive(Clone, Copy)]
pub(crate) enum Weighing<'a> {
    By(&'a dyn Potential),
    Reward(&'a dyn Scorer, SteeringConfig),
}

/// Spells out tokens as the texts that users see.
pub(crate) struct Speller<'a> {
    pub(crate) model: &'a LoadedModel,
    pub(crate) constraint: Option<&'a Compiled>,
}

impl Speller<'_> {
    /// The text of tokens without an end token.
    pub(crate) fn text(&self, tokens: &[Token]) -> lldm_models::Result<String> {
        let text = self.model.tokenizer.decode(tokens)?;
        Ok(self.constraint.map_or(text.as_str(), |constraint| constraint.text_of(&text)).to_string())
    }

    /// The text of a draft, and how many tokens stand before its end token.
    fn draft(&self, tokens: &[Token]) -> lldm_diffusion::Result<(String, usize)> {
        let end = &self.model.denoiser.info().end;
        let length = tokens.iter().position(|token| end.contains(token)).unwrap_or(tokens.len());
        let text = self.text(&tokens[..length]).map_err(|error| lldm_diffusion::Error::Model(Box::new(error)))?;
        Ok((text, length))
    }
}

/// Writes each text, and tells of the particles that it took.
pub(crate) fn write(
    parts: &Parts<'_>,
    config: &GenerateConfig,
    sequences: &[Sequence],
    particles: Option<Particles<'_>>,
    speller: &Speller<'_>,
    mut observer: Option<&mut dyn Observer>,
) -> Result<Vec<(Generation, Option<UsedParticles>)>> {
    let Some(Particles { count, weighing }) = particles else {
        let texts = generate(parts, config, sequences, observer)?;
        return Ok(texts.into_iter().map(|text| (text, None)).collect());
    };
    let settings = ParticleConfig { count, ..ParticleConfig::default() };
    let spell = |tokens: &[Token]| speller.draft(tokens);
    let steering;
    let potential = match weighing {
        Weighing::By(potential) => potential,
        Weighing::Reward(scorer, config) => {
            steering = Steering::new(scorer, &spell, config)?;
            &steering
        }
    };
    let mut texts = Vec::new();
    for sequence in sequences {
        let observer = observer.as_mut().map(|observer| &mut **observer as &mut dyn Observer);
        let mut population = generate_particles(parts, config, sequence, &settings, potential, observer)?;
        let chosen = population.generations.swap_remove(population.chosen);
        let usage = Usage { nfe: population.nfe, context_passes: population.context_passes, ..chosen.usage };
        let used = UsedParticles { count, resampled: population.resampled, log_evidence: population.log_evidence };
        texts.push((Generation { usage, ..chosen }, Some(used)));
    }
    Ok(texts)
}
