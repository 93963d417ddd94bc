//! What every forward process of the registry keeps: its reverse steps, its slopes and its draws agree with its marginals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lldm_diffusion::noise::registry::{ALL, Space, Spec, build};
use lldm_diffusion::noise::{Marginal, Noise, Outcome};
use lldm_diffusion::registry::Kind;
use lldm_diffusion::{Rng, Token};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const V: usize = 6;
const MASK: Token = 3;

/// A process with settings drawn by `dice`; the mask stands in the middle of the vocabulary.
fn noise(spec: &Spec, dice: f64) -> Box<dyn Noise> {
    let mut settings = Map::new();
    for parameter in spec.parameters {
        let value = match parameter.kind {
            Kind::Integer { min } => json!(min + (dice * 5.0) as u64),
            Kind::Number { min, max } => json!(min + dice * (max - min)),
            Kind::Choice(words) => json!(words[(dice * words.len() as f64) as usize]),
            Kind::Flag => json!(dice < 0.5),
        };
        settings.insert(parameter.name.to_string(), value);
    }
    build(spec.name, &settings, Space { vocabulary: V, mask: Some(MASK) }).unwrap()
}

fn marginal(noise: &dyn Noise, clean: Token, t: f64) -> Vec<f64> {
    let now = noise.marginal(t);
    let alpha = |z: Token| if z == clean { now.alpha } else { 0.0 };
    (0..V as Token).map(|z| alpha(z) + noise.noise_at(now, z)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn marginals_add_up_and_decrease(dice in 0.0..1.0f64, t in 0.001..0.999f64) {
        for spec in ALL {
            let noise = noise(spec, dice);
            prop_assert_eq!(noise.name(), spec.name);
            let now = noise.marginal(t);
            prop_assert!((now.alpha + now.mask + now.uniform - 1.0).abs() < 1e-12);
            prop_assert!(now.alpha >= 0.0 && now.mask >= 0.0 && now.uniform >= 0.0);
            let h = 1e-7;
            let (before, after, slope) = (noise.marginal(t - h), noise.marginal(t + h), noise.slope(t));
            for part in [|m: Marginal| m.alpha, |m: Marginal| m.mask, |m: Marginal| m.uniform] {
                let found = (part(after) - part(before)) / (2.0 * h);
                prop_assert!((found - part(slope)).abs() < 1e-4 * found.abs().max(1.0), "{} at {}", spec.name, t);
            }
            prop_assert!(slope.alpha <= 0.0);
        }
    }

    /// Drawing x_t and then x_s by the posterior of the known x_0 gives q_s(. | x_0).
    #[test]
    fn reverse_steps_agree_with_the_marginals(
        dice in 0.0..1.0f64, s in 0.0..0.99f64, gap in 0.01..1.0f64, clean in 0..V as Token,
    ) {
        prop_assume!(clean != MASK);
        let t = s + gap * (1.0 - s);
        for spec in ALL {
            let noise = noise(spec, dice);
            let known: Vec<_> = (0..V as Token).map(|z| f64::from(u8::from(z == clean))).collect();
            let mut found = [0.0; V];
            for (held, weight) in marginal(&*noise, clean, t).into_iter().enumerate() {
                for (sum, p) in found.iter_mut().zip(noise.posterior(held as Token, &known, s, t)) {
                    *sum += weight * p;
                }
            }
            let wanted = if s == 0.0 { known } else { marginal(&*noise, clean, s) };
            for (found, wanted) in found.iter().zip(&wanted) {
                prop_assert!((found - wanted).abs() < 1e-9, "{}: {found} for {wanted}", spec.name);
            }
        }
    }

    /// The posterior under an uncertain x_0 is Bayes' rule with that uncertainty as the prior.
    #[test]
    fn the_posterior_is_bayes_rule(
        dice in 0.0..1.0f64, s in 0.001..0.99f64, gap in 0.01..0.99f64, held in 0..V as Token,
        weights in proptest::collection::vec(0.01..1.0f64, V),
    ) {
        let t = s + gap * (1.0 - s);
        for spec in ALL {
            let noise = noise(spec, dice);
            let mut prior = weights.clone();
            prior[MASK as usize] = 0.0;
            let total: f64 = prior.iter().sum();
            prior.iter_mut().for_each(|p| *p /= total);
            let mut wanted = vec![0.0; V];
            let mut evidence = 0.0;
            for clean in 0..V as Token {
                let known: Vec<_> = (0..V as Token).map(|z| f64::from(u8::from(z == clean))).collect();
                let weight = prior[clean as usize] * marginal(&*noise, clean, t)[held as usize];
                evidence += weight;
                for (sum, p) in wanted.iter_mut().zip(noise.posterior(held, &known, s, t)) {
                    *sum += weight * p;
                }
            }
            prop_assume!(evidence > 0.0);
            for (found, wanted) in noise.posterior(held, &prior, s, t).iter().zip(&wanted) {
                prop_assert!((found - wanted / evidence).abs() < 1e-9, "{}: {found}", spec.name);
            }
        }
    }
}

#[test]
fn corruption_follows_the_marginals() {
    for spec in ALL {
        let noise = noise(spec, 0.3);
        let count = 40_000;
        let noisy = noise.corrupt(&vec![1; count], 0.6, &Rng::new(5, 0).at(0, 0));
        for (token, wanted) in marginal(&*noise, 1, 0.6).into_iter().enumerate() {
            let found = noisy.iter().filter(|z| **z as usize == token).count() as f64 / count as f64;
            assert!(
                (found - wanted).abs() < 5.0 * (wanted * (1.0 - wanted) / count as f64).sqrt() + 1e-12,
                "{}",
                spec.name
            );
        }
        let prior = noise.prior(100, &Rng::new(5, 0).at(0, 0));
        assert_eq!(noise.corrupt(&vec![1; 100], 0.0, &Rng::new(5, 0).at(0, 0)), vec![1; 100]);
        assert!(prior.iter().all(|z| noise.mask().map_or(*z != MASK, |mask| *z == mask)), "{}", spec.name);
    }
}

#[test]
fn outcomes_follow_the_mixture() {
    let mixture =
        build("hybrid", &Map::new(), Space { vocabulary: V, mask: Some(MASK) }).unwrap().reverse(1, 0.2, 0.3, 0.8);
    let (mut counts, total) = ([0f64; 4], 40_000);
    for seed in 0..total {
        counts[mixture.outcome(0, &Rng::new(seed, 0).at(0, 0)) as usize] += 1.0 / total as f64;
    }
    for (outcome, share) in [
        (Outcome::Keep, mixture.keep),
        (Outcome::Draw, mixture.draw),
        (Outcome::Uniform, mixture.uniform),
        (Outcome::Mask, mixture.mask),
    ] {
        assert!(
            (counts[outcome as usize] - share).abs() < 0.012,
            "{outcome:?}: {} for {share}",
            counts[outcome as usize]
        );
    }
}

#[test]
fn described_defaults_are_the_real_ones() {
    for spec in ALL {
        for parameter in spec.parameters {
            parameter.check(&parameter.default_value()).unwrap();
        }
    }
    let build = |name, space| build(name, &Map::new(), space).err().map(|error| error.to_string());
    let bare = Space { vocabulary: V, mask: None };
    assert_eq!(build("masked", bare).unwrap(), "noise is masked, but the vocabulary needs a mask token for it");
    assert_eq!(build("uniform", bare), None);
    assert_eq!(build("unifrom", bare).unwrap(), "there is no noise `unifrom`; did you mean `uniform`?");
    assert_eq!(build("gidd", Space { mask: Some(MASK), ..bare }), None, "a published name finds its process");
    let wrong = Map::from_iter([("schedule".to_string(), Value::from("sine"))]);
    let error = lldm_diffusion::noise::registry::build("masked", &wrong, bare).err().unwrap().to_string();
    assert!(error.starts_with("noise `masked`: `schedule` is \"sine\", but must be one of linear"), "{error}");
}
