//! Answers from a cache equal those of one pass over everything.

use lldm_diffusion::{Context, Denoiser};
use lldm_models::nn::Visibility;
use lldm_models::{Attention, TrunkDenoiser};

use crate::support::{BLOCK, END, MASK, ask, assert_near, denoiser, distance, noised, plain, words};

#[test]
fn causal_token_by_token_equals_one_pass() {
    let denoiser = denoiser(Attention::Causal);
    let text = words(1, 9);
    let all: Vec<_> = std::iter::once(END).chain(text.iter().copied()).collect();
    let positions: Vec<_> = (0..all.len()).collect();
    let expected = plain(&denoiser, &all, &positions, Visibility::Causal { cached: 0 });
    for prefix in [0, 1, 5] {
        let mut context = denoiser.prefill(&text[..prefix]).unwrap();
        for at in prefix..=text.len() {
            let found = ask(&denoiser, &[MASK], &mut context);
            assert_near(&found, &expected[at..=at], &format!("prefix {prefix}, token {at}"));
            assert_eq!(ask(&denoiser, &[MASK], &mut context), found, "asked again");
            if at < text.len() {
                denoiser.extend(&mut context, &text[at..=at]).unwrap();
            }
        }
    }
    // Several tokens at once are read in one pass.
    let mut context = denoiser.prefill(&text[..2]).unwrap();
    denoiser.extend(&mut context, &text[2..7]).unwrap();
    assert_near(&ask(&denoiser, &[MASK], &mut context), &expected[7..8], "extended by five");
}

#[test]
fn a_block_behind_a_cache_equals_one_pass() {
    let denoiser = denoiser(Attention::BlockCausal);
    for prefix in [0, 1, 3, 4, 6, 8, 11] {
        let text = words(2, prefix);
        let canvas = noised(3, &words(4, BLOCK - prefix % BLOCK));
        let expected = whole(&denoiser, &text, &canvas);
        let mut context = denoiser.prefill(&text).unwrap();
        assert_eq!(context.passes, usize::from(prefix >= BLOCK), "whole blocks are cached in one pass");
        assert_near(&ask(&denoiser, &canvas, &mut context), &expected, &format!("prefix {prefix}"));
        assert_near(&ask(&denoiser, &canvas, &mut context), &expected, "a canvas is not stored");
        // The same context, grown in two parts.
        let mut grown = denoiser.prefill(&text[..prefix / 2]).unwrap();
        denoiser.extend(&mut grown, &text[prefix / 2..]).unwrap();
        assert_near(&ask(&denoiser, &canvas, &mut grown), &expected, &format!("prefix {prefix}, grown"));
    }
}

#[test]
fn blocks_written_one_after_another_equal_one_pass() {
    let denoiser = denoiser(Attention::BlockCausal);
    let text = words(5, 3 * BLOCK);
    let mut context = denoiser.prefill(&text[..2]).unwrap();
    for (start, end) in [(2, 4), (4, 8), (8, 12)] {
        let canvas = noised(6, &text[start..end]);
        let expected = whole(&denoiser, &text[..start], &canvas);
        assert_near(&ask(&denoiser, &canvas, &mut context), &expected, &format!("cells {start}..{end}"));
        denoiser.extend(&mut context, &text[start..end]).unwrap();
    }
}

#[test]
fn full_attention_reads_prefix_and_canvas_together() {
    let denoiser = denoiser(Attention::Full);
    for prefix in [0, 3] {
        let text = words(7, prefix);
        let canvas = noised(8, &words(9, 5));
        let all = [text.as_slice(), &canvas].concat();
        let positions: Vec<_> = (0..all.len()).collect();
        let expected = plain(&denoiser, &all, &positions, Visibility::Full);
        let mut context = denoiser.prefill(&text).unwrap();
        assert_near(&ask(&denoiser, &canvas, &mut context), &expected[prefix..], "full");
    }
}

/// What each kind may see: without this the equalities above would also hold for a blind network.
#[test]
fn what_is_seen_matters_and_what_is_not_does_not() {
    let causal = denoiser(Attention::Causal);
    let text = words(10, 6);
    let answer = |text: &[u32]| ask(&causal, &[MASK], &mut causal.prefill(text).unwrap());
    let mut changed = text.clone();
    changed[0] = (changed[0] + 1) % END;
    assert!(distance(&answer(&text), &answer(&changed)) > 1e-3, "the first token of the context is seen");

    let block = denoiser(Attention::BlockCausal);
    let hidden_later = |tail: &[u32]| {
        let all = [&text[..4], tail].concat();
        let positions: Vec<_> = (0..all.len()).collect();
        plain(&block, &all, &positions, Visibility::BlockCausal { block_length: BLOCK, cached: 0 })[..4].to_vec()
    };
    assert_eq!(distance(&hidden_later(&words(1, 4)), &hidden_later(&words(2, 4))), 0.0, "later blocks are hidden");
    let canvas = |last: u32| ask(&block, &[MASK, MASK, MASK, last], &mut block.prefill(&text[..4]).unwrap());
    assert!(distance(&canvas(1)[..3], &canvas(2)[..3]) > 1e-3, "cells of a block see one another");
}

#[test]
fn a_context_of_another_denoiser_is_refused() {
    for attention in [Attention::BlockCausal, Attention::Causal] {
        let mut foreign = Context { cache: Some(Box::new(3u8)), ..Context::plain(&[1]) };
        let input = crate::support::input(&[MASK], 1.0, lldm_diffusion::Condition::Given);
        let error = denoiser(attention).denoise(&input, &mut foreign).err().unwrap().to_string();
        assert!(error.contains("belongs to another denoiser"), "{error}");
    }
}

fn whole(denoiser: &TrunkDenoiser, text: &[u32], canvas: &[u32]) -> Vec<Vec<f32>> {
    let all = [text, canvas].concat();
    let positions: Vec<_> = (0..all.len()).collect();
    let visibility = Visibility::BlockCausal { block_length: BLOCK, cached: 0 };
    plain(denoiser, &all, &positions, visibility).split_off(text.len())
}
