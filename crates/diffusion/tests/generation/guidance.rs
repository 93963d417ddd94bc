//! Guidance on the table whose second canvas depends on the first: hiding the prefix takes that dependence away.

use std::sync::Arc;

use lldm_diffusion::noise::{Alphabet, Noise, Uniform};
use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::toy::Table;
use lldm_diffusion::vocabulary::Draw;
use lldm_diffusion::{
    GenerateConfig, Guidance, LogitTransform, Logits, Parts, Prediction, Result, Sampler, Sequence, generate,
};
use serde_json::json;

use crate::{MASK, V, config, full_table, parts, sampler, sequences, write};

struct Away(f64);

#[test]
fn scale_zero_costs_one_pass_and_any_other_two() {
    let table = full_table(1..4, 4, vec![]);
    let settings = GenerateConfig { canvas_length: 2, ..config(4) };
    for name in ["first_hitting", "ancestral", "low_confidence", "threshold", "left_to_right"] {
        let sampler = sampler(name, json!({}));
        let plain = parts(&table, &*sampler);
        let unguided = write(&plain, &settings, 0..30);
        assert_eq!(write(&Parts { guidance: Some(&Away(0.0)), ..plain }, &settings, 0..30), unguided, "{name}");
        let guided = write(&Parts { guidance: Some(&Away(1.5)), ..plain }, &settings, 0..30);
        assert!(guided.iter().zip(&unguided).any(|(a, b)| a.tokens != b.tokens), "{name}");
        if name == "first_hitting" || name == "left_to_right" {
            assert!(unguided.iter().all(|text| text.usage.nfe == 4), "{name}");
        }
        assert!(guided.iter().all(|text| text.usage.nfe % 2 == 0), "{name}");
        // An answer used again costs nothing with guidance either.
        assert!(guided.iter().all(|text| text.usage.nfe <= 2 * text.usage.steps.min(4)), "{name}");
        if name != "ancestral" {
            assert!(guided.iter().all(|text| text.usage.nfe == 2 * text.usage.steps), "{name}");
        }
    }
}

/// After a 1, a 2 is the likelier word, but a 3 gains the most by the 1: p(3|1)^(1+s) / p(3)^s overtakes.
#[test]
fn guidance_prefers_what_the_prefix_speaks_for() {
    let texts = [([1, 2], 0.6), ([1, 3], 0.4), ([2, 2], 2.0), ([2, 1], 0.3), ([2, 3], 0.01)];
    let texts = texts.into_iter().map(|(text, weight)| (text.to_vec(), weight)).collect();
    let table = Table::new(V, MASK, vec![], texts).unwrap();
    let sampler = sampler("left_to_right", json!({}));
    let settings = GenerateConfig {
        canvas_length: 1,
        // The first canvas, which has no prefix to hide, is made to write 1.
        transform: LogitTransform { temperature: 0.0, bias: vec![(1, 2.0)], ..LogitTransform::default() },
        ..config(2)
    };
    let text = |scale| {
        let parts = Parts { guidance: Some(&Away(scale) as &dyn Guidance), ..parts(&table, &*sampler) };
        write(&parts, &settings, 0..1)[0].tokens.clone()
    };
    assert_eq!(text(0.0), [1, 2]);
    assert_eq!(text(1.0), [1, 3]);
}

#[test]
fn away_from_is_a_step_in_logits_and_keeps_what_is_impossible() {
    let impossible = f32::NEG_INFINITY;
    let with = Logits::new(vec![1.0, 0.0, impossible, impossible], 4).unwrap();
    let without = Logits::new(vec![0.5, 1.0, impossible, 2.0], 4).unwrap();
    let away = with.away_from(&without, 2.0).unwrap();
    let away = away.as_any().downcast_ref::<Logits>().unwrap();
    assert_eq!(away.row(0), [2.0, -2.0, impossible, impossible]);
    let request = [RowRequest { row: 0, draw: Draw::Argmax, held: None }];
    let proposal = away.propose(&request, &LogitTransform::default()).unwrap()[0];
    assert!((proposal.probability - 1.0 / (1.0 + (-4f64).exp())).abs() < 1e-6);

    let narrow = Logits::new(vec![0.0; 3], 3).unwrap();
    let error = with.away_from(&narrow, 1.0).err().unwrap().to_string();
    assert_eq!(error, "contract broken: guidance joins predictions of different kinds");
}

/// Four steps of D-CFG under uniform noise, whose law is a product of mixed posteriors; a sampler without such a step mixes
/// predictions, which gives another law. At temperature 0 all do.
#[test]
fn ancestral_steps_under_uniform_noise_mix_posteriors() {
    let alphabet = Alphabet { vocabulary: V, without: Some(MASK) };
    let noise = Uniform { schedule: Linear, alphabet };
    let texts = [([1, 2], 0.9), ([1, 3], 0.6), ([1, 1], 0.5), ([2, 2], 2.0), ([2, 1], 0.3), ([3, 3], 0.4)];
    let texts = texts.into_iter().map(|(text, weight)| (text.to_vec(), weight)).collect();
    let shared = Arc::new(Uniform { schedule: Linear, alphabet });
    let table = Table::new(V, MASK, vec![], texts).unwrap().under(shared);
    // The second token behind a 1, and behind anything.
    let with = [0.0, 0.25, 0.45, 0.3, 0.0];
    let total = 4.7;
    let without = [0.0, 0.8 / total, 2.9 / total, 1.0 / total, 0.0];
    let scale = 3.0;
    // From a uniform draw at t = 1 by four steps to 0, mixing posteriors, or the predictions once and for all.
    let law = |posteriors: bool| {
        let mixed = |q: &[f64], other: &[f64]| -> Vec<f64> {
            let weight = |(q, other): (&f64, &f64)| if *q > 0.0 { q * (q / other).powf(scale) } else { 0.0 };
            let weights: Vec<_> = q.iter().zip(other).map(weight).collect();
            weights.iter().map(|weight| weight / weights.iter().sum::<f64>()).collect()
        };
        let joined = mixed(&with, &without);
        let mut law = [0.25, 0.25, 0.25, 0.25, 0.0];
        for (t, s) in [(1.0, 0.75), (0.75, 0.5), (0.5, 0.25), (0.25, 0.0)] {
            let mut next = [0.0; V];
            for (held, p) in (0..).zip(law) {
                let reverse = |clean: &[f64]| noise.posterior(held, clean, s, t);
                let step = if posteriors { mixed(&reverse(&with), &reverse(&without)) } else { reverse(&joined) };
                next.iter_mut().zip(step).for_each(|(sum, q)| *sum += p * q);
            }
            law = next;
        }
        law
    };
    let found = |sampler: &dyn Sampler, guidance: &dyn Guidance, temperature| {
        // The first canvas is a 1, which the second must not write again.
        let settings = GenerateConfig {
            canvas_length: 1,
            transform: LogitTransform { temperature, ..LogitTransform::default() },
            ..config(2)
        };
        let parts = Parts { noise: &noise, guidance: Some(guidance), ..parts(&table, sampler) };
        let pinned: Vec<_> =
            sequences(0..40_000).into_iter().map(|one| Sequence { pins: vec![(0, 1)], ..one }).collect();
        let mut counts = [0.0; V];
        for text in generate(&parts, &settings, &pinned, None).unwrap() {
            counts[text.tokens[1] as usize] += 1.0 / 40_000.0;
        }
        counts
    };
    let distance = |a: [f64; V], b: [f64; V]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
    assert!(distance(law(true), law(false)) > 0.015, "{:?} and {:?}", law(true), law(false));
    let ancestral = sampler("ancestral", json!({"steps": 4}));
    // Half of the sum of 3 deviations of at most 0.0025 each, and some.
    let near = 0.006;
    assert!(distance(found(&*ancestral, &Mixing(scale), 1.0), law(true)) < near);
    assert!(distance(found(&*ancestral, &Away(scale), 1.0), law(false)) < near);
    let psi = sampler("psi", json!({"steps": 4}));
    assert_eq!(found(&*psi, &Mixing(scale), 1.0), found(&*psi, &Away(scale), 1.0));
    assert_eq!(found(&*ancestral, &Mixing(scale), 0.0), found(&*ancestral, &Away(scale), 0.0));
    // The argmax at the end is one of predictions.
    let greedy = sampler("ancestral", json!({"steps": 1, "tail": "greedy"}));
    assert!(found(&*greedy, &Mixing(scale), 1.0)[3] > 0.9999);
}

struct Mixing(f64);

impl Guidance for Mixing {
    fn scale(&self) -> f64 {
        self.0
    }

    fn guide(&self, with: &dyn Prediction, without: &dyn Prediction) -> Result<Box<dyn Prediction>> {
        with.away_from(without, self.0)
    }

    fn mixes_posteriors(&self) -> bool {
        true
    }
}

impl Guidance for Away {
    fn scale(&self) -> f64 {
        self.0
    }

    fn guide(&self, with: &dyn Prediction, without: &dyn Prediction) -> Result<Box<dyn Prediction>> {
        with.away_from(without, self.0)
    }
}
