//! Another seed, or another number of the sequence, gives another text.

use std::collections::BTreeSet;

use lldm_diffusion::sampler::registry::ALL;
use lldm_diffusion::{Sequence, generate};
use serde_json::json;

use crate::{config, full_table, parts, sampler, sequences};

#[test]
fn another_seed_gives_another_text() {
    let table = full_table(1..4, 6, vec![]);
    let by_number = |index| Sequence { index, ..sequences(0..1).remove(0) };
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        for sequences in [sequences(0..60), (0..60).map(by_number).collect()] {
            let texts = generate(&parts(&table, &*sampler), &config(6), &sequences, None).unwrap();
            let distinct: BTreeSet<_> = texts.into_iter().map(|text| text.tokens).collect();
            assert!(distinct.len() > 15, "{}: {} distinct texts of 60", spec.name, distinct.len());
        }
    }
}
