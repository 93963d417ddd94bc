//! With many steps every ancestral method approaches the joint law, under every forward process.

use std::sync::Arc;

use lldm_diffusion::noise::registry::{ALL, Space, build};
use lldm_diffusion::noise::{Alphabet, Noise, Uniform};
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::Never;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{Parts, Sequence, generate};
use serde_json::{Map, Value, json};

use crate::{L, Law, MASK, config, dense, joint};

/// Texts drawn for a law.
const DRAWS: u64 = 4_000;

/// Half the sum of the differences between the share of each text and its probability.
fn distance(noise: &Arc<dyn Noise>, name: &str, settings: &Value) -> f64 {
    let table = Table::new(MASK as usize + 1, MASK, Vec::new(), dense()).unwrap().under(Arc::clone(noise));
    let sampler = lldm_diffusion::sampler::registry::build(name, settings.as_object().unwrap()).unwrap();
    let parts = Parts {
        denoiser: &table,
        noise: noise.as_ref(),
        sampler: sampler.as_ref(),
        stop: &Never,
        guidance: None,
        constraint: None,
    };
    let sequence = |index| Sequence { prefix: Vec::new(), pins: Vec::new(), first_banned: Vec::new(), seed: 3, index };
    let sequences: Vec<_> = (0..DRAWS).map(sequence).collect();
    let mut shares = Law::new();
    for batch in sequences.chunks(500) {
        for text in generate(&parts, &config(L, L), batch, None).unwrap() {
            *shares.entry(text.tokens).or_default() += 1.0 / DRAWS as f64;
        }
    }
    let law = joint(&dense());
    let texts: std::collections::BTreeSet<_> = law.keys().chain(shares.keys()).collect();
    let of = |law: &Law, text| law.get(text).copied().unwrap_or(0.0);
    texts.into_iter().map(|text| (of(&law, text) - of(&shares, text)).abs()).sum::<f64>() / 2.0
}

/// The distance of 4,000 true draws from 81 texts is about 0.055.
#[test]
fn many_steps_draw_from_the_joint_law() {
    for spec in ALL {
        let space = Space { vocabulary: MASK as usize + 1, mask: Some(MASK) };
        let noise: Arc<dyn Noise> = build(spec.name, &Map::new(), space).unwrap().into();
        for (name, settings) in [
            ("ancestral", json!({ "steps": 64 })),
            ("gidd", json!({ "steps": 64, "correction_steps": 0 })),
            ("tau_leaping", json!({ "steps": 64, "method": "analytic" })),
            ("tau_leaping", json!({ "steps": 96, "method": "euler" })),
            ("psi", json!({ "steps": 96, "strategy": "cap", "eta": 0.01 })),
        ] {
            let found = distance(&noise, name, &settings);
            assert!(found < 0.085, "{name} {settings} under {}: {found}", spec.name);
        }
    }
}

/// Few steps do not: the test can tell.
#[test]
fn few_steps_draw_from_another_law() {
    let alphabet = Alphabet { vocabulary: MASK as usize + 1, without: Some(MASK) };
    let noise: Arc<dyn Noise> = Arc::new(Uniform { schedule: Linear, alphabet });
    let found = distance(&noise, "ancestral", &json!({ "steps": 2 }));
    assert!(found > 0.12, "{found}");
}

/// Taking tokens back keeps the law, and mends what few steps tear apart.
#[test]
fn remasking_approaches_the_joint_law() {
    let space = Space { vocabulary: MASK as usize + 1, mask: Some(MASK) };
    let noise: Arc<dyn Noise> = build("masked", &Map::new(), space).unwrap().into();
    for settings in [
        json!({ "strategy": "cap", "steps": 64, "eta": 0.05 }),
        json!({ "strategy": "rescale", "steps": 64, "eta": 0.05 }),
        json!({ "strategy": "loop", "steps": 128, "eta": 0.05 }),
        json!({ "strategy": "forward_backward", "steps": 96 }),
    ] {
        let found = distance(&noise, "remdm", &settings);
        assert!(found < 0.095, "{settings}: {found}");
    }
}
