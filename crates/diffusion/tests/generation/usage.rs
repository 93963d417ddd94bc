//! What a text costs, and what the frames say of it.

use lldm_diffusion::toy::{SelfConditioned, Table};
use lldm_diffusion::{Cell, Compat, GenerateConfig, LogitTransform, Sequence};
use serde_json::json;

use crate::{MASK, V, config, full_table, parts, sampler, sequences, watch, write};

#[test]
fn one_pass_per_noisy_cell() {
    let table = full_table(1..4, 6, vec![]);
    for name in ["first_hitting", "left_to_right"] {
        let sampler = sampler(name, json!({}));
        let parts = parts(&table, &*sampler);
        let pinned = Sequence { pins: vec![(1, 2), (4, 3)], ..sequences(0..1).remove(0) };
        let (text, frames) = watch(&parts, &config(6), pinned);
        assert_eq!((text.usage.nfe, text.usage.steps, text.usage.blocks), (4, 4, 1), "{name}");
        assert_eq!((text.tokens[1], text.tokens[4]), (2, 3), "{name}");
        assert_eq!((text.probabilities[1], text.probabilities[4]), (1.0, 1.0), "{name}");
        let noisy = |at: usize| frames[at].cells.iter().filter(|cell| cell.state != Cell::Fixed).count();
        assert_eq!((frames.len(), noisy(0)), (1 + 4 + 1, 4), "{name}: the noise, four steps, the finished canvas");

        let several = GenerateConfig { canvas_length: 3, block_length: 2, ..config(7) };
        for text in write(&parts, &several, 0..20) {
            assert_eq!((text.usage.nfe, text.usage.steps), (7, 7), "{name}");
            assert_eq!(text.usage.blocks, 2 + 2 + 1, "{name}: canvases of 3, 3 and 1 cells");
        }
    }
}

#[test]
fn ancestral_asks_again_only_when_something_changed() {
    let table = full_table(1..4, 5, vec![]);
    let timed = table.clone().time_dependent();
    let selfish = SelfConditioned::new(table.clone(), 0.5);
    for steps in [1, 7, 64, 200] {
        let sampler = sampler("ancestral", json!({ "steps": steps }));
        let cached = write(&parts(&table, &*sampler), &config(5), 0..100);
        let fresh = write(&parts(&timed, &*sampler), &config(5), 0..100);
        for (cached, fresh) in cached.iter().zip(&fresh) {
            assert_eq!(cached.tokens, fresh.tokens, "the cache changes the cost alone");
            assert_eq!(cached.usage.steps, fresh.usage.steps);
            assert_eq!(fresh.usage.nfe, fresh.usage.steps);
            assert!(cached.usage.nfe <= 5 && fresh.usage.steps <= steps);
            assert!(cached.usage.nfe < cached.usage.steps || steps < 64, "{:?}", cached.usage);
        }
        for text in write(&parts(&selfish, &*sampler), &config(5), 0..20) {
            assert_eq!(text.usage.nfe, text.usage.steps);
        }
    }
}

#[test]
fn planned_steps_are_what_they_cost() {
    let table = full_table(1..4, 8, vec![]);
    let cost = |name, settings, config: &GenerateConfig| {
        let sampler = sampler(name, settings);
        let usage = write(&parts(&table, &*sampler), config, 0..1)[0].usage;
        (usage.nfe, usage.steps)
    };
    assert_eq!(cost("low_confidence", json!({ "steps": 3 }), &config(8)), (3, 3));
    assert_eq!(cost("low_confidence", json!({ "steps": 100 }), &config(8)), (8, 8), "steps without quota cost nothing");
    let blocks = GenerateConfig { block_length: 3, ..config(8) };
    assert_eq!(cost("low_confidence", json!({ "steps": 3 }), &blocks), (3, 3), "steps are shared by the blocks");
    assert_eq!(cost("low_confidence", json!({ "steps": 1 }), &blocks), (3, 3), "each block takes one at least");
    assert_eq!(cost("threshold", json!({ "threshold": 0.0 }), &config(8)), (1, 1));
    assert_eq!(cost("threshold", json!({ "threshold": 0.0 }), &blocks), (3, 3));
    assert_eq!(cost("threshold", json!({ "threshold": 1.0 }), &config(8)), (8, 8), "nothing is certain here");
}

/// Two words of equal logits have a probability of exactly one half, which reaches a threshold of one half.
#[test]
fn the_threshold_itself_is_enough() {
    let texts = [[1, 1, 1], [1, 1, 2], [1, 2, 1], [1, 2, 2], [2, 1, 1], [2, 1, 2], [2, 2, 1], [2, 2, 2]];
    let texts = texts.into_iter().map(|text| (text.to_vec(), 1.0)).collect();
    let table = Table::new(V, MASK, vec![], texts).unwrap();
    for (threshold, passes) in [(0.5, 1), (0.500_001, 3)] {
        let sampler = sampler("threshold", json!({ "threshold": threshold }));
        let texts = write(&parts(&table, &*sampler), &config(3), 0..20);
        assert!(texts.iter().all(|text| text.usage.nfe == passes && text.probabilities == [0.5; 3]), "{threshold}");
    }
}

#[test]
fn frames_tell_the_steps_in_order() {
    let table = full_table(1..4, 4, vec![]);
    let sampler = sampler("first_hitting", json!({}));
    let settings = GenerateConfig { canvas_length: 4, block_length: 2, ..config(6) };
    let sequence = Sequence { index: 9, ..sequences(3..4).remove(0) };
    let (text, frames) = watch(&parts(&table, &*sampler), &settings, sequence);
    let told: Vec<_> = frames.iter().map(|frame| (frame.canvas, frame.step, frame.nfe, frame.done)).collect();
    let expected = [
        (0, 0, 0, false),
        (0, 1, 1, false),
        (0, 2, 2, false),
        (0, 3, 3, false),
        (0, 4, 4, false),
        (0, 4, 4, true),
        (1, 4, 4, false),
        (1, 5, 5, false),
        (1, 6, 6, false),
        (1, 6, 6, true),
    ];
    assert_eq!(told, expected);
    assert!(frames.iter().all(|frame| frame.sequence == 9 && frame.block <= 1));
    for first in [&frames[0], &frames[6]] {
        assert!(first.cells.iter().all(|c| c.state == Cell::Noisy && c.token == MASK && c.probability == 0.0));
        assert_eq!(first.time, 1.0);
    }
    // In the first block its other cell shows what is proposed; the second block is still noise.
    let states: Vec<_> = frames[1].cells.iter().map(|cell| cell.state).collect();
    assert!(states[..2].contains(&Cell::Committed) && states[..2].contains(&Cell::Draft), "{states:?}");
    assert_eq!(states[2..], [Cell::Noisy, Cell::Noisy]);
    let last: Vec<_> = [&frames[5].cells[..], &frames[9].cells[..]].concat();
    assert_eq!(last.iter().map(|cell| cell.token).collect::<Vec<_>>(), text.tokens);
    assert_eq!(last.iter().map(|cell| cell.probability).collect::<Vec<_>>(), text.probabilities);
    let json = serde_json::to_string(&frames[1]).unwrap();
    assert_eq!(serde_json::from_str::<lldm_diffusion::Frame>(&json).unwrap(), frames[1]);
}

/// Under `compat = "reference"` top-p drops the token with which it reaches p where the sampler's reference does.
#[test]
fn the_reference_of_a_sampler_decides_about_the_crossing_token() {
    let texts = vec![(vec![1], 0.5), (vec![2], 0.3), (vec![3], 0.2)];
    let table = Table::new(V, MASK, vec![], texts).unwrap();
    let seen = |name: &str, compat: Compat| {
        let sampler = sampler(name, json!({}));
        let transform = LogitTransform { top_p: 0.7, ..LogitTransform::default() };
        let settings = GenerateConfig { transform, compat, ..config(1) };
        let texts = write(&parts(&table, &*sampler), &settings, 0..60);
        texts.iter().map(|text| text.tokens[0]).collect::<std::collections::BTreeSet<_>>()
    };
    for name in ["ancestral", "remdm", "first_hitting"] {
        assert_eq!(seen(name, Compat::Reference).into_iter().collect::<Vec<_>>(), [1], "{name}");
    }
    for (name, compat) in [("dream", Compat::Reference), ("ancestral", Compat::Exact), ("dream", Compat::Exact)] {
        assert_eq!(seen(name, compat).into_iter().collect::<Vec<_>>(), [1, 2], "{name}");
    }
}
