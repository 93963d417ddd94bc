//! The masked bound.

use lldm::likelihood::{BoundConfig, block_bound, exhaustive_bound};
use lldm_models::Attention;
use lldm_models::nn::backward;
use lldm_train::objective::{Masked, Measures, Objective, Rows};

use crate::support::{Tiny, assert_within, words};

#[test]
fn the_mean_loss_is_the_bound_over_all_subsets() {
    let tiny = Tiny::new(Attention::Full, None);
    let tokens = words(1, 5);
    let expected = tiny.enumerate(&[], &tokens, &[true; 5]);
    let facade = exhaustive_bound(&tiny.denoiser, &[], &tokens).unwrap().nats;
    assert!((expected - facade).abs() < 1e-9);
    let estimate = BoundConfig { samples: 400, ..BoundConfig::default() };
    let estimate = block_bound(&tiny.denoiser, &[], &tokens, &estimate).unwrap();
    assert_within((estimate.nats, estimate.standard_error.unwrap()), expected, "the facade's estimate");
    let rows = Rows { tokens: &tokens, scored: &[true; 5], length: 5 };
    let alone = tiny.mean_nats(&Masked, &rows, 1500);
    assert_within(alone, expected, "one row");
    // Five copies: each number of masks occurs once, and what is left of the variance is that of the subsets.
    let copies = tokens.repeat(5);
    let rows = Rows { tokens: &copies, scored: &[true; 25], length: 5 };
    let (mean, error) = tiny.mean_nats(&Masked, &rows, 300);
    assert_within((mean / 5.0, error / 5.0), expected, "five rows");
    assert!(error / 5.0 < alone.1, "stratified over rows: {error} / 5 and {}", alone.1);
}

#[test]
fn the_loss_is_per_scored_token_and_a_bound_in_nats() {
    let tiny = Tiny::new(Attention::Full, None);
    let tokens = words(2, 12);
    let scored: Vec<_> = (0..12).map(|at| at % 3 != 0).collect();
    let rows = Rows { tokens: &tokens, scored: &scored, length: 6 };
    let rng = lldm_diffusion::Rng::new(1, 0).at(0, 0);
    let loss = Masked.loss(tiny.trunk(), &rows, &rng).unwrap();
    assert_eq!((loss.tokens, rows.count(), Masked.measures()), (8, 2, Measures::Bound));
    assert!((f64::from(loss.tensor.to_scalar::<f32>().unwrap()) * 8.0 - loss.nats).abs() < 1e-6);
    let again = Masked.loss(tiny.trunk(), &rows, &rng).unwrap();
    assert_eq!(again.nats, loss.nats, "the same draw gives the same loss");
}

#[test]
fn tokens_that_are_not_scored_are_seen_and_cost_nothing() {
    let tiny = Tiny::new(Attention::Full, None);
    let tokens = words(3, 6);
    // A prompt, a gap, padding.
    let scored = [false, true, true, false, true, false];
    let rows = Rows { tokens: &tokens, scored: &scored, length: 6 };
    let expected = tiny.enumerate(&[], &tokens, &scored);
    assert_within(tiny.mean_nats(&Masked, &rows, 1000), expected, "three of six");
    // Were one of the others ever masked, the loss would differ from draw to draw.
    let one = [false, false, true, false, false, false];
    let rows = Rows { tokens: &tokens, scored: &one, length: 6 };
    let expected = tiny.enumerate(&[], &tokens, &one);
    for draw in 0..50 {
        assert!((tiny.nats(&Masked, &rows, draw) - expected).abs() < 1e-5);
    }
    // A scored row beside one without any scored token.
    let pair = [words(4, 6), tokens].concat();
    let rows = Rows { tokens: &pair, scored: &[[false; 6], one].concat(), length: 6 };
    assert!((tiny.nats(&Masked, &rows, 0) - expected).abs() < 1e-5);
}

/// The prompt of a document is the prefix of a canvas.
#[test]
fn an_unscored_prompt_is_a_prefix() {
    let tiny = Tiny::new(Attention::Full, None);
    let tokens = words(5, 6);
    let rows = Rows { tokens: &tokens, scored: &[false, false, true, true, true, true], length: 6 };
    let expected = exhaustive_bound(&tiny.denoiser, &tokens[..2], &tokens[2..]).unwrap().nats;
    assert_within(tiny.mean_nats(&Masked, &rows, 1000), expected, "behind a prompt");
}

/// As a batch of long prompts gives it.
#[test]
fn rows_without_any_scored_token_cost_nothing() {
    let tiny = Tiny::new(Attention::Full, None);
    let tokens = words(6, 6);
    let rows = Rows { tokens: &tokens, scored: &[false; 6], length: 6 };
    let rng = lldm_diffusion::Rng::new(1, 0).at(0, 0);
    let loss = Masked.loss(tiny.trunk(), &rows, &rng).unwrap();
    assert_eq!(loss.nats, 0.0);
    backward(&loss.tensor).unwrap();
}
