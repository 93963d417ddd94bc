//! A text being set up, and how it is written: from prompts and settings to outputs.

use lldm_control::constraint::Language;
use lldm_control::{ClassifierFree, Compiled, Constraints, Joint, Scorer, SteeringConfig};
use lldm_diffusion::stop::EndOfText;
use lldm_diffusion::{
    Constraint, EndRule, Error as DiffusionError, GenerateConfig, Guidance, LogitTransform, Observer, Parts, Potential,
    Sequence, Token,
};
use lldm_models::{Defaults, LoadedModel};
use serde_json::Value;

use crate::best::{self, Best};
use crate::constraint::used;
use crate::error::{Error, Result};
use crate::output::{Output, UsedSampler};
use crate::particles::{self, Particles, Speller, Weighing};
use crate::pipeline::Pipeline;
use crate::prompt::{Prefix, Prompt};
use crate::settings::{Origin, Settings};
use crate::vocabulary::{never_written, within_word};

/// A generation being set up.
#[must_use = "a generation does nothing until it is run"]
pub struct Generate<'a> {
    pipeline: &'a Pipeline,
    pub(crate) prompts: Vec<Prompt>,
    request: Defaults,
    pub(crate) seed: u64,
    first: u64,
    bias: Vec<(Token, f32)>,
    banned: Vec<Token>,
    constraints: Constraints,
    guidance: Option<&'a dyn Guidance>,
    particles: Option<Particles<'a>>,
    observer: Option<Box<dyn Observer + 'a>>,
}

impl<'a> Generate<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, prompts: Vec<Prompt>) -> Self {
        Self {
            pipeline,
            prompts,
            request: Defaults::default(),
            seed: 0,
            first: 0,
            bias: Vec::new(),
            banned: Vec::new(),
            constraints: Constraints::new(),
            guidance: None,
            particles: None,
            observer: None,
        }
    }

    /// The sampler, by its name in the registry.
    pub fn sampler(mut self, name: &str) -> Self {
        self.request.sampler = Some(name.to_string());
        self
    }

    /// A parameter of the sampler.
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.request.sampler_parameters.insert(name.to_string(), value.into());
        self
    }

    /// The most tokens that are written.
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.request.max_tokens = Some(tokens);
        self
    }

    /// Cells denoised together.
    pub fn canvas_length(mut self, cells: usize) -> Self {
        self.request.canvas_length = Some(cells);
        self
    }

    /// Cells of a block within a canvas.
    pub fn block_length(mut self, cells: usize) -> Self {
        self.request.block_length = Some(cells);
        self
    }

    /// The temperature of the draws; 0 takes the most probable token.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.request.temperature = Some(temperature);
        self
    }

    /// The most probable tokens that are kept; 0 keeps all.
    pub fn top_k(mut self, tokens: usize) -> Self {
        self.request.top_k = Some(tokens);
        self
    }

    /// The probability that the kept tokens hold; 1 keeps all.
    pub fn top_p(mut self, probability: f64) -> Self {
        self.request.top_p = Some(probability);
        self
    }

    /// The penalty of tokens that stand in the text already; 1 is none.
    pub fn repetition_penalty(mut self, penalty: f64) -> Self {
        self.request.repetition_penalty = Some(penalty);
        self
    }

    /// Logits to add to single tokens.
    pub fn bias(mut self, bias: impl IntoIterator<Item = (Token, f32)>) -> Self {
        self.bias.extend(bias);
        self
    }

    /// Tokens that are never written.
    pub fn ban(mut self, tokens: impl IntoIterator<Item = Token>) -> Self {
        self.banned.extend(tokens);
        self
    }

    /// The scale s of classifier-free guidance: what the prompt changes in the model's answer is added s times more. 0, the
    /// default, guides nowhere; any other costs a second forward pass at each step. A model that cannot hide its prompt is
    /// an error.
    pub fn guidance_scale(mut self, scale: f64) -> Self {
        self.request.guidance_scale = Some(scale);
        self
    }

    /// Where an end token may be written.
    pub fn end_rule(mut self, rule: EndRule) -> Self {
        self.request.end_rule = Some(rule);
        self
    }

    /// Several settings at once; those already made give way.
    pub fn request(mut self, values: Defaults) -> Self {
        self.request = values.or(self.request);
        self
    }

    /// The seed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The number of the first text; the others follow. A text depends on the seed and its number.
    pub fn first_index(mut self, index: u64) -> Self {
        self.first = index;
        self
    }

    /// A language that the text must belong to, beside those named before.
    pub fn constraint(mut self, language: impl Language + 'static) -> Self {
        self.constraints = self.constraints.with(language);
        self
    }

    /// All constraints at once; those named before are forgotten.
    pub fn constraints(mut self, constraints: Constraints) -> Self {
        self.constraints = constraints;
        self
    }

    /// A soft pull of any kind, instead of classifier-free guidance at [`Generate::guidance_scale`].
    pub fn guidance(mut self, guidance: &'a dyn Guidance) -> Self {
        self.guidance = Some(guidance);
        self
    }

    /// `count` particles for each text, weighed by a potential as they are written; the text is one of them, drawn by its weight.
    /// [`RatioOfZ`](lldm_diffusion::particles::RatioOfZ) makes texts under a constraint follow the model's law of valid texts.
    /// One particle is a plain run. Frames of particle k bear the text's number plus k 2^32; the cost of all is the text's.
    pub fn particles(mut self, count: usize, potential: &'a dyn Potential) -> Self {
        self.particles = Some(Particles { count, weighing: Weighing::By(potential) });
        self
    }

    /// The same, weighed by a reward (and by the constraint, if there is one): FK steering.
    pub fn steer(mut self, count: usize, scorer: &'a dyn Scorer, config: SteeringConfig) -> Self {
        self.particles = Some(Particles { count, weighing: Weighing::Reward(scorer, config) });
        self
    }

    /// Writes the one text `count` times, with this seed and those that follow it, and takes the best by a scorer; the first
    /// of equals.
    pub fn best_of(self, count: usize, scorer: &dyn Scorer) -> Result<Best> {
        best::best_of(self, count, scorer)
    }

    /// Watches every frame.
    pub fn observe(mut self, observer: impl Observer + 'a) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    pub(crate) fn observer(mut self, observer: Box<dyn Observer + 'a>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Writes the one text.
    pub fn run(self) -> Result<Output> {
        let mut outputs = self.run_all()?;
        outputs.pop().ok_or_else(|| Error::Prompt { message: "no prompt was given".to_string() })
    }

    /// Writes all texts.
    pub fn run_all(self) -> Result<Vec<Output>> {
        let Self {
            pipeline,
            prompts,
            request,
            seed,
            first,
            bias,
            banned,
            constraints,
            guidance,
            particles,
            mut observer,
        } = self;
        let model = &pipeline.model;
        let settings = pipeline.settings_for(&request)?;
        let mut waiting = Vec::with_capacity(prompts.len());
        // Each constraint that is needed, by what stands between prompt and text.
        let mut compiled: Vec<(Joint, Compiled)> = Vec::new();
        let spelled = if constraints.is_empty() { None } else { Some(pipeline.spelled()?) };
        let narrowed = spelled.filter(|_| !banned.is_empty());
        let narrowed = narrowed.map(|spelled| spelled.without(&banned, &model.denoiser.info().end));
        for (prompt, number) in prompts.into_iter().zip(first..) {
            let mut first_banned = Vec::new();
            let mut joint = None;
            if let Some(spelled) = spelled {
                let vocabulary = narrowed.as_ref().unwrap_or(&spelled.vocabulary);
                let own = match (prompt.joint, &prompt.prefix) {
                    (Some(joint), _) => joint,
                    (None, Prefix::Text(text)) => spelled.joint(text),
                    (None, Prefix::Tokens(tokens)) => spelled.joint(&model.tokenizer.decode(tokens)?),
                };
                if compiled.iter().all(|(joint, _)| *joint != own) {
                    compiled.push((own, constraints.compile_cached(vocabulary, own, &pipeline.cache)?));
                }
                joint = Some(own);
            }
            let prefix = match prompt.prefix {
                Prefix::Text(text) => {
                    if !prompt.within_word && text.ends_with(char::is_alphanumeric) {
                        first_banned = within_word(model);
                    }
                    model.tokenizer.encode(&text)?
                }
                Prefix::Tokens(tokens) => tokens,
            };
            // A text with a seed of its own is the first of that seed.
            let (seed, index) = prompt.seed.map_or((seed, number), |own| (own, 0));
            let fitted = fit(&settings, model, prefix.len())?;
            waiting.push(((fitted, joint), Sequence { prefix, pins: prompt.pins, first_banned, seed, index }));
        }
        let setup = Setup { model, bias, banned, guidance, particles };
        let mut outputs: Vec<Option<Output>> = waiting.iter().map(|_| None).collect();
        // Texts that are left different room are written apart, so that each is what it would be alone.
        while let Some(first) = outputs.iter().position(Option::is_none) {
            let key = &waiting[first].0;
            let group: Vec<_> = (first..waiting.len()).filter(|at| waiting[*at].0 == *key).collect();
            let constraint = compiled.iter().find(|(joint, _)| Some(*joint) == key.1).map(|(_, compiled)| compiled);
            let sequences: Vec<_> = group.iter().map(|at| waiting[*at].1.clone()).collect();
            let observer = observer.as_mut().map(|observer| observer.as_mut() as &mut dyn Observer);
            for (at, output) in group.into_iter().zip(setup.write(&key.0, constraint, &sequences, observer)?) {
                outputs[at] = Some(output);
            }
        }
        Ok(outputs.into_iter().flatten().collect())
    }
}

/// What all texts of a call share.
struct Setup<'a> {
    model: &'a LoadedModel,
    bias: Vec<(Token, f32)>,
    banned: Vec<Token>,
    guidance: Option<&'a dyn Guidance>,
    particles: Option<Particles<'a>>,
}

impl Setup<'_> {
    /// Writes texts under the same settings.
    fn write(
        &self,
        settings: &Settings,
        constraint: Option<&Compiled>,
        sequences: &[Sequence],
        observer: Option<&mut dyn Observer>,
    ) -> Result<Vec<Output>> {
        let model = self.model;
        let sampler = settings.build_sampler()?;
        let info = model.denoiser.info();
        let stop = EndOfText { end: info.end.clone() };
        let free = ClassifierFree::new(settings.guidance_scale)?;
        let guidance = self.guidance.unwrap_or(&free);
        let parts = Parts {
            denoiser: model.denoiser.as_ref(),
            noise: model.noise.as_ref(),
            sampler: sampler.as_ref(),
            stop: &stop,
            guidance: Some(guidance),
            constraint: constraint.map(|constraint| constraint as &dyn Constraint),
        };
        let config = GenerateConfig {
            max_tokens: settings.max_tokens,
            canvas_length: settings.canvas_length,
            block_length: settings.block_length,
            end_rule: settings.end_rule,
            transform: LogitTransform {
                temperature: settings.temperature,
                top_k: settings.top_k,
                top_p: settings.top_p,
                repetition_penalty: settings.repetition_penalty,
                banned: [never_written(model), self.banned.clone()].concat(),
                bias: self.bias.clone(),
                ..LogitTransform::default()
            },
            compat: settings.compat,
        };
        let speller = Speller { model, constraint };
        let written = particles::write(&parts, &config, sequences, self.particles, &speller, observer)?;
        written
            .into_iter()
            .zip(sequences)
            .map(|((generation, particles), sequence)| {
                Ok(Output {
                    text: speller.text(&generation.tokens)?,
                    tokens: generation.tokens,
                    probabilities: generation.probabilities,
                    seed: sequence.seed,
                    model: model.name.clone(),
                    sampler: UsedSampler {
                        name: settings.sampler.clone(),
                        parameters: sampler.settings(),
                        max_tokens: settings.max_tokens,
                        canvas_length: settings.canvas_length,
                        block_length: settings.block_length,
                        temperature: settings.temperature,
                        top_k: settings.top_k,
                        top_p: settings.top_p,
                        repetition_penalty: settings.repetition_penalty,
                        guidance_scale: guidance.scale(),
                        end_rule: settings.end_rule,
                        compat: settings.compat,
                    },
                    usage: generation.usage,
                    finish_reason: generation.finish,
                    constraint: constraint.map(used),
                    particles,
                })
            })
            .collect()
    }
}

/// The settings for a prefix of `prefix` tokens: where nobody asked for a length, the room that the model has decides. An
/// empty room is an error.
fn fit(settings: &Settings, model: &LoadedModel, prefix: usize) -> Result<Settings> {
    let mut settings = settings.clone();
    let info = model.denoiser.info();
    let room = info.max_length.saturating_sub(prefix);
    let asked = matches!(settings.origins.get("max_tokens"), Some(Origin::Request | Origin::Environment));
    if room == 0 || (asked && settings.max_tokens > room) {
        let canvas = if asked { settings.max_tokens } else { 1 };
        return Err(DiffusionError::TooLong { prefix, canvas, limit: info.max_length }.into());
    }
    settings.max_tokens = settings.max_tokens.min(room);
    settings.canvas_length = info.canvas_length.unwrap_or(settings.canvas_length.min(settings.max_tokens));
    settings.block_length = settings.block_length.min(settings.canvas_length);
    Ok(settings)
}
