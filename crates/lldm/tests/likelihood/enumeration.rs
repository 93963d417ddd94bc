//! Full enumeration over the number of masks.

use lldm::likelihood::{EnumerationConfig, Kind, enumerated_bound, exhaustive_bound};
use lldm_diffusion::Token;

use crate::{ROUNDING, Tempered, assert_near, by_blocks, ends, mean, table};

fn config(block_length: usize, subsets: usize, seed: u64) -> EnumerationConfig {
    EnumerationConfig { block_length, subsets, seed }
}

#[test]
fn all_subsets_leave_nothing_to_chance() {
    let model = Tempered::new(table(3, 4), 0.5, None);
    let text: [Token; 4] = [0, 2, 1, 1];
    let found = enumerated_bound(&model, &[], &text, &config(0, 6, 1)).unwrap();
    assert_eq!((found.kind, found.nfe, found.standard_error), (Kind::Bound, 15, Some(0.0)));
    assert_near(found.nats, by_blocks(&model, &[], &text, &[4]), "the mean over all orders");
    assert_near(found.nats, exhaustive_bound(&model, &[], &text).unwrap().nats, "all subsets");
    for block in 1..=4 {
        let blocks = enumerated_bound(&model, &[], &text, &config(block, 6, 1)).unwrap();
        assert_near(blocks.nats, by_blocks(&model, &[], &text, &ends(4, block)), "a block sum");
    }
}

/// With few subsets the mean is right, and the standard error is the spread.
#[test]
fn drawn_subsets_are_unbiased_with_an_honest_error() {
    let model = Tempered::new(table(2, 5), 2.0, None);
    let text: [Token; 5] = [1, 0, 0, 1, 1];
    let expected = exhaustive_bound(&model, &[], &text).unwrap().nats;
    let found: Vec<_> =
        (0..300).map(|seed| enumerated_bound(&model, &[], &text, &config(0, 3, seed)).unwrap()).collect();
    let values: Vec<_> = found.iter().map(|estimate| estimate.nats).collect();
    let center = mean(&values);
    let spread = mean(&values.iter().map(|value| (value - center).powi(2)).collect::<Vec<_>>()).sqrt();
    assert!((center - expected).abs() < 5.0 * spread / 300f64.sqrt() + ROUNDING, "{center} for {expected}");
    let claimed = mean(&found.iter().map(|e| e.standard_error.unwrap().powi(2)).collect::<Vec<_>>()).sqrt();
    assert!((claimed / spread - 1.0).abs() < 0.25, "{claimed} for {spread}");
    assert!(enumerated_bound(&model, &[], &text, &config(0, 1, 0)).unwrap().standard_error.is_none());
}
