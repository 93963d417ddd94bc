//! The autoregressive likelihood.

use lldm::likelihood::{BoundConfig, Kind, block_bound};
use lldm_models::Attention;
use lldm_train::objective::{Autoregressive, Measures, Objective, Rows};

use crate::support::{Tiny, words};

#[test]
fn the_loss_is_the_likelihood_of_the_denoiser() {
    let tiny = Tiny::new(Attention::Causal, None);
    let tokens = words(1, 18);
    let rows = Rows { tokens: &tokens, scored: &[true; 18], length: 9 };
    let expected: f64 = tokens
        .chunks(9)
        .map(|row| {
            let exact = block_bound(&tiny.denoiser, &[], row, &BoundConfig::default()).unwrap();
            assert_eq!((exact.kind, exact.standard_error, exact.nfe), (Kind::Exact, Some(0.0), 9));
            exact.nats
        })
        .sum();
    let found = tiny.nats(&Autoregressive, &rows, 0);
    assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    assert_eq!(found, tiny.nats(&Autoregressive, &rows, 1), "nothing is drawn");
    assert_eq!(Autoregressive.measures(), Measures::Exact);
}

#[test]
fn tokens_that_are_not_scored_are_a_prompt() {
    let tiny = Tiny::new(Attention::Causal, None);
    let tokens = words(2, 8);
    let scored: Vec<_> = (0..8).map(|at| (3..6).contains(&at)).collect();
    let rows = Rows { tokens: &tokens, scored: &scored, length: 8 };
    let found = tiny.nats(&Autoregressive, &rows, 0);
    let expected = block_bound(&tiny.denoiser, &tokens[..3], &tokens[3..6], &BoundConfig::default()).unwrap().nats;
    assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
}
