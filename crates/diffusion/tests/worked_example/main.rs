//! The worked example of CONTRIBUTING.md: the file that it prints, with the one registry line that it asks for, is a sampler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(unreachable_pub)]
mod entropy_exit;

use lldm_diffusion::noise::Masked;
use lldm_diffusion::registry;
use lldm_diffusion::sampler::registry::Spec;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::Never;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{Compat, EndRule, GenerateConfig, LogitTransform, Parts, Sequence, Usage, generate};
use serde_json::{Map, json};

/// The registry with its one line.
const ALL: &[Spec] = &[entropy_exit::SPEC];

#[test]
fn the_guide_prints_the_file_that_is_tested() {
    let guide = include_str!("../../../../CONTRIBUTING.md");
    let file = include_str!("entropy_exit.rs");
    let printed = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(printed, Some(file), "print crates/diffusion/tests/worked_example/entropy_exit.rs in CONTRIBUTING.md");
}

/// Three independent cells, one nearly certain: a low ceiling writes that one first, a high one everything at once.
#[test]
fn the_example_is_a_sampler() {
    let text = |n: u32| vec![n % 4, n / 4 % 4, n / 16 % 4];
    let texts = (0..64).map(|n| (text(n), if n % 4 == 1 { 100.0 } else { 1.0 })).collect();
    let table = Table::new(5, 4, Vec::new(), texts).unwrap();
    let spec = registry::find("sampler", ALL, "entropy_exit").unwrap();
    let cost = |entropy: f64| -> Usage {
        let given = Map::from_iter([("entropy".to_string(), json!(entropy))]);
        let sampler = (spec.build)(spec.resolve("sampler", &given).unwrap()).unwrap();
        assert_eq!(sampler.settings(), json!({ "entropy": entropy }));
        let parts = Parts {
            denoiser: &table,
            noise: &Masked { schedule: Linear, mask: 4 },
            sampler: sampler.as_ref(),
            stop: &Never,
            guidance: None,
            constraint: None,
        };
        let config = GenerateConfig {
            max_tokens: 3,
            canvas_length: 3,
            block_length: 3,
            end_rule: EndRule::Free,
            transform: LogitTransform::default(),
            compat: Compat::Exact,
        };
        let sequence = Sequence { prefix: vec![], pins: vec![], first_banned: vec![], seed: 1, index: 0 };
        generate(&parts, &config, &[sequence], None).unwrap()[0].usage
    };
    assert_eq!(cost(0.0).nfe, 3);
    assert_eq!(cost(1.0).nfe, 3, "the certain cell, then one at a time");
    assert_eq!(cost(1.5).nfe, 1, "ln 4 is below the ceiling");
}
