//! Guidance on the table whose second canvas depends on the first: hiding the prefix takes that dependence away.

use lldm_diffusion::prediction::RowRequest;
use lldm_diffusion::vocabulary::Draw;
use lldm_diffusion::{GenerateConfig, Guidance, LogitTransform, Logits, Parts, Prediction, Result};
use serde_json::json;

use crate::{MASK, V, config, full_table, parts, sampler, write};
use lldm_diffusion::toy::Table;

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

impl Guidance for Away {
    fn scale(&self) -> f64 {
        self.0
    }

    fn guide(&self, with: &dyn Prediction, without: &dyn Prediction) -> Result<Box<dyn Prediction>> {
        with.away_from(without, self.0)
    }
}
