//! Cases on the toys, by every sampler of the registry under every noise, with settings drawn for each.

use std::sync::Arc;

use lldm::control::{Compiled, Error, Joint};
use lldm::diffusion::noise::registry::{self as noises, Space};
use lldm::diffusion::noise::{Alphabet, Block, Masked, Noise, Uniform};
use lldm::diffusion::registry::Kind as Range;
use lldm::diffusion::sampler::{Sampler, registry as samplers};
use lldm::diffusion::schedule::Linear;
use lldm::diffusion::stop::EndOfText;
use lldm::diffusion::{
    Compat, Constraint, Denoiser, EndRule, Error as DiffusionError, GenerateConfig, Generation, LogitTransform, Parts,
    Sequence, Token, generate,
};
use serde_json::{Map, Value, json};

use super::case::{Case, Kind};
use super::dice::Dice;
use super::lengths::Lengths;
use super::tally::{Account, Tally, Turn};
use super::toy;

/// Texts of more tokens are not asked for, unless the shortest has more.
const MOST_TOKENS: usize = 64;

/// Block noise, beside those of the registry.
const BLOCKS: [&str; 2] = ["block of masked", "block of uniform"];

/// Pairs of a sampler and a noise.
pub(crate) fn pairs() -> usize {
    samplers::ALL.len() * (noises::ALL.len() + BLOCKS.len())
}

/// How a case is written.
struct Plan {
    sampler: Box<dyn Sampler>,
    noise: Arc<dyn Noise>,
    config: GenerateConfig,
    sequences: Vec<Sequence>,
    joint: Joint,
}

/// Writes texts for a case with both toys: one by a hash, and one that knows a few texts and excludes all others.
pub(crate) fn write_toys(case: &Case, turn: Turn, tally: &mut Tally) {
    let mut dice = Dice::new(turn.seed, case.kind.name(), turn.index + 1_000_000);
    let joint = if dice.chance(0.8) { Joint::None } else { Joint::Optional };
    let mut known: Option<Vec<Token>> = None;
    let mut ready = None;
    tally.case(case, "toy, hashed", turn, |account| {
        let Some((compiled, lengths)) = compiled(case, joint, account) else { return };
        let shortest =
            lengths.as_ref().map_or_else(|| compiled.fewest_tokens(), |lengths| lengths.fewest().unwrap_or(40));
        let plan = plan(turn, shortest, joint, &mut dice);
        let denoiser = toy::Hashed::new(plan.noise.as_ref(), &mut dice);
        known = plan.write(case, &compiled, lengths.as_ref(), &denoiser, account);
        if let Some(text) = &known
            && dice.chance(0.4)
        {
            plan.write_around(text, case, &compiled, &denoiser, &mut dice, account);
        }
        if lengths.as_ref().is_none_or(|lengths| lengths.fewest().is_some()) && shortest > 1 && joint == Joint::None {
            plan.refuse(shortest - 1, &compiled, &denoiser, account);
        }
        ready = Some((compiled, lengths, plan));
    });
    let Some((compiled, lengths, plan)) = ready else { return };
    tally.case(case, "toy, a few texts", turn, |account| {
        let known = known.as_deref().filter(|_| dice.chance(0.5));
        match toy::table(&plan.noise, plan.config.max_tokens, known, &mut dice) {
            Ok(table) => {
                plan.write(case, &compiled, lengths.as_ref(), &table, account);
            }
            Err(error) => account.fault(error.to_string()),
        }
    });
}

/// The compiled constraints, and how long texts are if that can be told without them. None where a refusal was right.
fn compiled(case: &Case, joint: Joint, account: &mut Account) -> Option<(Compiled, Option<Lengths>)> {
    let lengths = case.lengths(toy::pieces(), MOST_TOKENS);
    let compiled = match (case.constraints().compile(toy::vocabulary(), joint), &case.refused) {
        (Ok(compiled), None) => compiled,
        (Ok(_), Some(place)) => {
            account.fault(format!("a refusal at {place} was due"));
            return None;
        }
        (Err(Error::Schema { place, .. }), Some(due)) if place == *due => {
            account.refused(place.rsplit('/').next().unwrap_or_default());
            return None;
        }
        (Err(Error::Empty { .. }), None) if lengths.as_ref().is_some_and(|lengths| lengths.fewest().is_none()) => {
            account.refused("that no text meets");
            return None;
        }
        (Err(error @ (Error::States { .. } | Error::Bytes { .. } | Error::Time { .. })), _)
            if case.kind == Kind::Schemas =>
        {
            account.refused(format!("beyond a budget ({error})"));
            return None;
        }
        (Err(error), _) => {
            account.fault(format!("refused: {error}"));
            return None;
        }
    };
    if let Some(fewest) = lengths.as_ref().and_then(Lengths::fewest) {
        let needed = compiled.fewest_tokens();
        let exact = joint == Joint::None && case.tokens == (0, None);
        if needed > fewest || (exact && needed < fewest) {
            account.fault(format!("{needed} tokens are said to be needed, but {fewest} are"));
        }
    }
    Some((compiled, lengths))
}

fn plan(turn: Turn, shortest: usize, joint: Joint, dice: &mut Dice) -> Plan {
    let max_tokens = (shortest + if dice.chance(0.25) { 0 } else { dice.below(14) }).max(1);
    let canvas_length = if dice.chance(0.6) { max_tokens } else { dice.between(1, max_tokens) };
    let block_length = if dice.chance(0.5) { canvas_length } else { dice.between(1, canvas_length) };
    let pair = (turn.index + turn.seed as usize * 7) % pairs();
    let config = GenerateConfig {
        max_tokens,
        canvas_length,
        block_length,
        end_rule: if dice.chance(0.5) { EndRule::Free } else { EndRule::Leftmost },
        transform: LogitTransform {
            temperature: *dice.pick(&[0.0, 0.7, 1.0, 1.0, 1.5]),
            top_k: *dice.pick(&[0, 0, 0, 1, 5]),
            top_p: *dice.pick(&[1.0, 1.0, 0.9, 0.2]),
            repetition_penalty: *dice.pick(&[1.0, 1.0, 1.4]),
            ..LogitTransform::default()
        },
        compat: if dice.chance(0.8) { Compat::Exact } else { Compat::Reference },
    };
    let begins_word = |token: &Token| {
        let piece = toy::pieces().get(*token as usize - 1);
        piece.is_some_and(|piece| piece[0].is_ascii_alphanumeric())
    };
    let first_banned = if dice.chance(0.2) { (1..toy::MASK).filter(begins_word).collect() } else { Vec::new() };
    let sequence = |index| Sequence {
        prefix: Vec::new(),
        pins: Vec::new(),
        first_banned: first_banned.clone(),
        seed: turn.seed,
        index,
    };
    let sequences = vec![sequence(turn.index as u64 * 2), sequence(turn.index as u64 * 2 + 1)];
    let sampler = sampler(pair % samplers::ALL.len(), dice);
    let noise = noise(pair / samplers::ALL.len(), block_length, dice);
    Plan { sampler, noise, config, sequences, joint }
}

/// A sampler of few steps with settings of its own, where they go together.
fn sampler(number: usize, dice: &mut Dice) -> Box<dyn Sampler> {
    let spec = &samplers::ALL[number];
    let mut settings = Map::new();
    for parameter in spec.parameters {
        let value = match parameter.kind {
            Range::Integer { min } => json!(min as usize + dice.below(10)),
            Range::Number { .. } if dice.chance(0.5) => continue,
            Range::Number { min, max } => json!(min + dice.unit() * (max.min(min + 1.0) - min)),
            Range::Choice(words) => json!(dice.pick(words)),
            Range::Flag => json!(dice.chance(0.5)),
        };
        settings.insert(parameter.name.to_string(), value);
    }
    let plain = || {
        let steps = spec.parameters.iter().filter(|parameter| parameter.name == "steps");
        steps.map(|parameter| (parameter.name.to_string(), Value::from(8))).collect()
    };
    samplers::build(spec.name, &settings)
        .or_else(|_| samplers::build(spec.name, &plain()))
        .unwrap_or_else(|error| panic!("{}: {error}", spec.name))
}

fn noise(number: usize, block_length: usize, dice: &mut Dice) -> Arc<dyn Noise> {
    let Some(spec) = noises::ALL.get(number) else {
        let alphabet = Alphabet { vocabulary: toy::SIZE, without: Some(toy::MASK) };
        return match BLOCKS[number - noises::ALL.len()] {
            "block of masked" => Arc::new(Block { inner: Masked { schedule: Linear, mask: toy::MASK }, block_length }),
            _ => Arc::new(Block { inner: Uniform { schedule: Linear, alphabet }, block_length }),
        };
    };
    let mut settings = Map::new();
    for parameter in spec.parameters {
        if let (Range::Choice(words), true) = (parameter.kind, dice.chance(0.5)) {
            settings.insert(parameter.name.to_string(), json!(dice.pick(words)));
        }
    }
    let space = Space { vocabulary: toy::SIZE, mask: Some(toy::MASK) };
    noises::build(spec.name, &settings, space).unwrap_or_else(|error| panic!("{}: {error}", spec.name)).into()
}

impl Plan {
    fn generate(
        &self,
        config: &GenerateConfig,
        sequences: &[Sequence],
        compiled: &Compiled,
        denoiser: &dyn Denoiser,
    ) -> Result<Vec<Generation>, DiffusionError> {
        let stop = EndOfText { end: vec![toy::END] };
        let parts = Parts {
            denoiser,
            noise: self.noise.as_ref(),
            sampler: self.sampler.as_ref(),
            stop: &stop,
            guidance: None,
            constraint: Some(compiled as &dyn Constraint),
        };
        generate(&parts, config, sequences, None)
    }

    /// The texts are valid; or there are none, and that is refused. One of the texts comes back.
    fn write(
        &self,
        case: &Case,
        compiled: &Compiled,
        lengths: Option<&Lengths>,
        denoiser: &dyn Denoiser,
        account: &mut Account,
    ) -> Option<Vec<Token>> {
        let possible = lengths.map(|lengths| lengths.within(self.config.max_tokens));
        match self.generate(&self.config, &self.sequences, compiled, denoiser) {
            Ok(texts) => {
                if possible == Some(false) && self.joint == Joint::None {
                    account
                        .fault(format!("a text in {} tokens, where none was found possible", self.config.max_tokens));
                }
                for text in &texts {
                    self.judge(text, case, compiled, account);
                }
                texts.into_iter().next().map(|text| text.tokens)
            }
            Err(DiffusionError::Infeasible { .. }) if possible == Some(false) => {
                account.refused("that no text meets");
                None
            }
            Err(error) => {
                account.fault(format!("{error} ({})", self.what()));
                None
            }
        }
    }

    /// With some cells given, which hold what a valid text has there, or anything; then there may be no text.
    fn write_around(
        &self,
        text: &[Token],
        case: &Case,
        compiled: &Compiled,
        denoiser: &dyn Denoiser,
        dice: &mut Dice,
        account: &mut Account,
    ) {
        let any = dice.chance(0.25);
        let mut pins: Vec<(usize, Token)> = Vec::new();
        for _ in 0..dice.between(1, 3).min(text.len()) {
            let at = dice.below(text.len());
            if pins.iter().all(|(pinned, _)| *pinned != at) {
                pins.push((at, if any { dice.between(1, toy::MASK as usize - 1) as Token } else { text[at] }));
            }
        }
        pins.sort_unstable();
        let sequences: Vec<_> = self
            .sequences
            .iter()
            .map(|one| Sequence { pins: pins.clone(), index: one.index + 1_000_000, ..one.clone() })
            .collect();
        match self.generate(&self.config, &sequences, compiled, denoiser) {
            Ok(texts) => {
                for text in &texts {
                    self.judge(text, case, compiled, account);
                    if pins.iter().any(|(at, token)| text.tokens.get(*at) != Some(token)) {
                        account.fault(format!(
                            "the cells {pins:?} do not stand in {:?} ({})",
                            text.tokens,
                            self.what()
                        ));
                    }
                }
            }
            Err(DiffusionError::Infeasible { .. }) if any => account.refused("around cells that were given"),
            Err(error) => account.fault(format!("{error} around {pins:?} ({})", self.what())),
        }
    }

    /// A text of fewer tokens than the shortest is refused.
    fn refuse(&self, tokens: usize, compiled: &Compiled, denoiser: &dyn Denoiser, account: &mut Account) {
        let config = GenerateConfig { max_tokens: tokens, ..self.config.clone() };
        match self.generate(&config, &self.sequences, compiled, denoiser) {
            Err(DiffusionError::Infeasible { .. }) => account.refused("for want of tokens"),
            Err(error) => account.fault(format!("{error} ({})", self.what())),
            Ok(_) => account.fault(format!("a text of {tokens} tokens, where none has so few")),
        }
    }

    fn judge(&self, text: &Generation, case: &Case, compiled: &Compiled, account: &mut Account) {
        if text.tokens.len() > self.config.max_tokens || text.tokens.iter().any(|token| !(1..toy::MASK).contains(token))
        {
            account.fault(format!("{:?} is no text ({})", text.tokens, self.what()));
            return;
        }
        let bytes = toy::bytes(&text.tokens);
        let written = String::from_utf8_lossy(&bytes);
        // What is said of letters holds for letters; words may stand between any bytes.
        let torn = case.kind != Kind::Keywords && std::str::from_utf8(&bytes).is_err();
        let judged = if self.joint == Joint::Optional { compiled.text_of(&written) } else { &written };
        match case.fault(judged, text.tokens.len()) {
            None if !torn => account.text(),
            None => account.fault(format!("{written:?} is not UTF-8 ({})", self.what())),
            Some(unmet) => account.fault(format!("{judged:?} does not meet {unmet} ({})", self.what())),
        }
    }

    fn what(&self) -> String {
        let (sampler, noise) = (self.sampler.name(), self.noise.name());
        format!("{sampler} {} under {noise}, {:?}", self.sampler.settings(), self.config)
    }
}
