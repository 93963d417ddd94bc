//! FK steering: the potentials by hand, and the law of steered texts on a table whose law is known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use lldm_control::{PotentialKind, Scorer, Steering, SteeringConfig};
use lldm_diffusion::noise::Masked;
use lldm_diffusion::sampler::registry::build;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::EndOfText;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{
    Compat, EndRule, GenerateConfig, LogitTransform, ParticleConfig, ParticleView, Parts, Potential, Result, Sequence,
    Token, generate_particles,
};
use serde_json::{Map, json};

const END: Token = 0;
const MASK: Token = 4;

/// Runs of all particles, for each law.
const SEEDS: u64 = 4000;

const KINDS: [PotentialKind; 3] = [PotentialKind::Difference, PotentialKind::Max, PotentialKind::Sum];

/// Letters a to c, as far as the text reaches.
fn spell(tokens: &[Token]) -> Result<(String, usize)> {
    let length = tokens.iter().position(|token| *token == END).unwrap_or(tokens.len());
    Ok((tokens[..length].iter().map(|token| char::from(b'`' + *token as u8)).collect(), length))
}

fn steering<'a>(scorer: &'a dyn Scorer, lambda: f64, potential: PotentialKind) -> Steering<'a> {
    Steering::new(scorer, &spell, SteeringConfig { lambda, potential }).unwrap()
}

/// What a particle is multiplied by whose draws are these texts, the last one written.
fn potentials(steering: &Steering<'_>, draws: &[&[Token]]) -> Vec<f64> {
    let mut memory = Vec::new();
    let view = |(at, tokens): (usize, &&'static [Token])| ParticleView {
        tokens,
        finished: at + 1 == draws.len(),
        steps: at,
        log_z: None,
        log_ratio: None,
    };
    let draws: Vec<&'static [Token]> = draws.iter().map(|draw| &*draw.to_vec().leak()).collect();
    let views: Vec<_> = draws.iter().enumerate().map(view).collect();
    views.iter().map(|view| steering.log_potential(view, &mut memory).unwrap()).collect()
}

#[test]
fn potentials_are_those_of_the_paper_and_leave_the_reward_in_the_end() {
    let scorer = |text: &str, tokens: &[Token]| {
        assert_eq!(text.len(), tokens.len());
        text.matches('b').count() as f64
    };
    // Rewards 1, 3, 2, and 2 for the text, of which an end token and what stands behind it are no part.
    let draws: [&[Token]; 4] = [&[2, 1, 1], &[2, 2, 2], &[2, 2, 1], &[2, 2, END, 2]];
    for (kind, wanted) in [
        (PotentialKind::Difference, [2.0, 4.0, -2.0, 0.0]),
        (PotentialKind::Max, [2.0, 6.0, 6.0, -10.0]),
        (PotentialKind::Sum, [2.0, 8.0, 12.0, -18.0]),
    ] {
        let found = potentials(&steering(&scorer, 2.0, kind), &draws);
        assert_eq!(found, wanted, "{kind:?}");
        assert_eq!(found.iter().sum::<f64>(), 2.0 * 2.0);
    }
}

#[test]
fn minus_infinity_rules_a_text_out() {
    let scorer = |text: &str, _: &[Token]| if text.contains('c') { f64::NEG_INFINITY } else { 1.0 };
    for kind in KINDS {
        let product = |draws: &[&[Token]]| potentials(&steering(&scorer, 1.0, kind), draws).iter().sum::<f64>();
        assert_eq!(product(&[&[1], &[1], &[3]]), f64::NEG_INFINITY, "{kind:?}");
        // On the way only what is favoured for its worst moments.
        let wanted = if kind == PotentialKind::Max { 1.0 } else { f64::NEG_INFINITY };
        assert_eq!(product(&[&[1], &[3], &[1], &[1]]), wanted, "{kind:?}");
    }
}

#[test]
fn a_reward_must_be_a_number() {
    let scorer = |_: &str, _: &[Token]| f64::NAN;
    let view = ParticleView { tokens: &[1, 2], finished: false, steps: 1, log_z: None, log_ratio: None };
    let error = steering(&scorer, 1.0, PotentialKind::Max).log_potential(&view, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "contract broken: a scorer gives NaN to the text \"ab\"");
    let error = Steering::new(&scorer, &spell, SteeringConfig { lambda: f64::INFINITY, ..SteeringConfig::default() });
    assert_eq!(error.err().unwrap().to_string(), "lambda is inf, but it must be a finite number");
}

/// All kinds lead to p(x) exp(lambda r(x)) / Z; texts end where they like.
#[test]
fn steered_texts_follow_the_tilted_law() {
    let mut texts = Vec::new();
    for number in 0..81u32 {
        let text: Vec<Token> = (0..4).map(|at| number / 3u32.pow(at) % 3).collect();
        let length = text.iter().position(|token| *token == END).unwrap_or(4);
        if text[length..].iter().all(|token| *token == END) {
            let ties = text[..length].windows(2).filter(|pair| pair[0] == pair[1]).count();
            texts.push((text, (1.1 * ties as f64).exp()));
        }
    }
    let table = Table::new(5, MASK, vec![END], texts).unwrap();
    let scorer = |text: &str, _: &[Token]| text.matches("ab").count() as f64 + 0.4 * text.len() as f64;
    let wanted = |lambda: f64| {
        let mut law: BTreeMap<Vec<Token>, f64> = BTreeMap::new();
        for (text, p) in table.texts() {
            let (spelled, length) = spell(text).unwrap();
            *law.entry(text[..length].to_vec()).or_default() += p * (lambda * scorer(&spelled, &text[..length])).exp();
        }
        let total: f64 = law.values().sum();
        law.values_mut().for_each(|p| *p /= total);
        law
    };
    let sampler = build("first_hitting", &Map::new()).unwrap();
    let parts = Parts {
        denoiser: &table,
        noise: &Masked { schedule: Linear, mask: MASK },
        sampler: sampler.as_ref(),
        stop: &EndOfText { end: vec![END] },
        guidance: None,
        constraint: None,
    };
    let config = GenerateConfig {
        max_tokens: 4,
        canvas_length: 4,
        block_length: 4,
        end_rule: EndRule::Free,
        transform: LogitTransform::default(),
        compat: Compat::Exact,
    };
    // The law of what is taken, and that of the unbiased estimate: weights times the mean weight of their run.
    let far = |count, kind, lambda| {
        let particles = ParticleConfig { count, ..ParticleConfig::default() };
        let wanted = wanted(lambda);
        let (mut taken, mut unbiased, mut evidence) = (wanted.clone(), wanted.clone(), 0.0);
        let mut found: Vec<(Vec<Token>, f64, f64)> = Vec::new();
        for seed in 0..SEEDS {
            let sequence = Sequence { prefix: vec![], pins: vec![], first_banned: vec![], seed, index: 0 };
            let steering = steering(&scorer, lambda, kind);
            let run = generate_particles(&parts, &config, &sequence, &particles, &steering, None).unwrap();
            evidence += run.log_evidence.exp();
            let texts = run.generations.into_iter().zip(run.weights);
            found.extend(texts.map(|(text, weight)| (text.tokens, weight, weight * run.log_evidence.exp())));
        }
        for (text, weight, whole) in found {
            *taken.get_mut(&text).expect("a text of the table") -= weight / SEEDS as f64;
            *unbiased.get_mut(&text).expect("a text of the table") -= whole / evidence;
        }
        [taken, unbiased].map(|apart| apart.values().map(|p| p.abs()).sum::<f64>() / 2.0)
    };
    // Max and sum count a reward again at each step: with a large lambda, few particles are left of many.
    for (kind, lambda) in KINDS.into_iter().zip([1.5, 0.4, 0.15]) {
        let ([alone, _], [together, unbiased]) = (far(1, kind, lambda), far(24, kind, lambda));
        println!("{kind:?}: {alone:.3} alone, {together:.3} together, {unbiased:.3} unbiased");
        assert!(together < 0.6 * alone && unbiased < 0.025, "{kind:?}: {alone} {together} {unbiased}");
    }
}

#[test]
fn settings_are_those_of_the_reference() {
    let config: SteeringConfig = serde_json::from_value(json!({})).unwrap();
    assert_eq!((config.lambda, config.potential), (10.0, PotentialKind::Difference));
    assert_eq!(json!(config), json!({"lambda": 10.0, "potential": "difference"}));
    assert!(serde_json::from_value::<SteeringConfig>(json!({"lamda": 1.0})).is_err());
}
