//! The block bound.

use lldm::likelihood::{BoundConfig, Kind, block_bound};
use lldm_diffusion::Token;
use lldm_models::Attention;
use lldm_train::objective::{Block, BlockConfig, Measures, Objective, Rows};

use crate::support::{Tiny, assert_within, words};

fn tiny(block_length: usize) -> (Tiny, Block) {
    (Tiny::new(Attention::BlockCausal, Some(block_length)), Block(BlockConfig { block_length }))
}

/// The sum over blocks of the masked bound given the clean blocks before.
fn enumerate(tiny: &Tiny, tokens: &[Token], scored: &[bool], block_length: usize) -> f64 {
    let starts = (0..tokens.len()).step_by(block_length);
    let ends = starts.clone().map(|start| (start + block_length).min(tokens.len()));
    starts
        .zip(ends)
        .map(|(start, end)| tiny.enumerate(&tokens[..start], &tokens[start..end], &scored[start..end]))
        .sum()
}

#[test]
fn the_mean_loss_is_the_sum_over_blocks() {
    // Whole blocks, and a short last one.
    for (block_length, length) in [(3, 6), (4, 7), (2, 5)] {
        let (tiny, objective) = tiny(block_length);
        let tokens = words(1, length);
        let scored = vec![true; length];
        let expected = enumerate(&tiny, &tokens, &scored, block_length);
        let rows = Rows { tokens: &tokens, scored: &scored, length };
        assert_within(tiny.mean_nats(&objective, &rows, 1000), expected, &format!("blocks of {block_length}"));
        let config = BoundConfig { block_length, samples: 300, seed: 2 };
        let facade = block_bound(&tiny.denoiser, &[], &tokens, &config).unwrap();
        assert_within((facade.nats, facade.standard_error.unwrap()), expected, "the facade's estimate");
        assert_eq!((facade.kind, objective.measures()), (Kind::Bound, Measures::Bound));
    }
}

#[test]
fn rows_are_independent() {
    let (tiny, objective) = tiny(3);
    let tokens = words(2, 12);
    let scored = [true; 12];
    let expected: f64 = (0..2).map(|row| enumerate(&tiny, &tokens[6 * row..6 * row + 6], &scored[..6], 3)).sum();
    let rows = Rows { tokens: &tokens, scored: &scored, length: 6 };
    assert_within(tiny.mean_nats(&objective, &rows, 800), expected, "two rows");
}

#[test]
fn blocks_of_one_are_the_exact_likelihood_from_left_to_right() {
    let (tiny, objective) = tiny(1);
    assert_eq!(objective.measures(), Measures::Exact);
    let tokens = words(3, 7);
    let scored = [true; 7];
    let expected = enumerate(&tiny, &tokens, &scored, 1);
    let config = BoundConfig { block_length: 1, ..BoundConfig::default() };
    let facade = block_bound(&tiny.denoiser, &[], &tokens, &config).unwrap();
    assert_eq!((facade.kind, facade.standard_error, facade.nfe), (Kind::Exact, Some(0.0), 7));
    assert!((facade.nats - expected).abs() < 1e-4);
    let rows = Rows { tokens: &tokens, scored: &scored, length: 7 };
    for draw in 0..5 {
        let found = tiny.nats(&objective, &rows, draw);
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }
}

#[test]
fn tokens_that_are_not_scored_are_seen_and_cost_nothing() {
    let (tiny, objective) = tiny(3);
    let tokens = words(4, 8);
    // The prompt fills a block and a part of the next; padding at the end.
    let scored = [false, false, false, false, true, true, true, false];
    let expected = enumerate(&tiny, &tokens, &scored, 3);
    let rows = Rows { tokens: &tokens, scored: &scored, length: 8 };
    assert_within(tiny.mean_nats(&objective, &rows, 800), expected, "behind a prompt");
    let one = [false, false, false, false, true, false, false, false];
    let expected = enumerate(&tiny, &tokens, &one, 3);
    let rows = Rows { tokens: &tokens, scored: &one, length: 8 };
    for draw in 0..20 {
        assert!((tiny.nats(&objective, &rows, draw) - expected).abs() < 1e-5);
    }
}
