//! Where texts end: the trap of empty texts, end tokens before given cells, stop rules.

use lldm_diffusion::contract::{Stop, StopView};
use lldm_diffusion::noise::Masked;
use lldm_diffusion::sampler::Reads;
use lldm_diffusion::sampler::registry::ALL;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::EndOfText;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{
    Cell, EndRule, FinishReason, GenerateConfig, LogitTransform, Parts, Sequence, StopRule, Token, generate,
};
use serde_json::json;

use crate::{END, config, full_table, parts, sampler, sequences, watch};

/// Says that the text is this long, whatever it is shown.
struct Always(usize);

/// One to three free words of twelve in eight cells, the rest end tokens; `empty` of the texts are empty.
fn short_texts(empty: f64) -> Table {
    let mut texts = vec![(vec![END; 8], empty)];
    for (length, weight) in [(1, 0.2 - empty), (2, 0.4), (3, 0.4)] {
        let count = 12usize.pow(length);
        for number in 0..count {
            let word = |at: u32| if at < length { (number / 12usize.pow(at) % 12) as Token + 1 } else { END };
            texts.push(((0..8).map(word).collect(), weight / count as f64));
        }
    }
    Table::new(14, 13, vec![END], texts).unwrap()
}

fn empties(table: &Table, name: &str, end_rule: EndRule, temperature: f64) -> usize {
    let sampler = sampler(name, json!({}));
    let transform = LogitTransform { temperature, ..LogitTransform::default() };
    let parts = Parts {
        stop: &EndOfText { end: vec![END] },
        noise: &Masked { schedule: Linear, mask: 13 },
        ..parts(table, &*sampler)
    };
    let settings = GenerateConfig { end_rule, transform, ..config(8) };
    let texts = generate(&parts, &settings, &sequences(0..200), None).unwrap();
    texts.iter().filter(|text| text.tokens.is_empty()).count()
}

/// The end token is likelier than any single word, so the surest cells are ends; once all others are, so is the first.
#[test]
fn the_trap_of_empty_texts_is_real() {
    let table = short_texts(0.02);
    for name in ["low_confidence", "threshold"] {
        // One in fifty texts of the table is empty, but all that come out.
        assert_eq!(empties(&table, name, EndRule::Free, 0.0), 200, "{name}");
    }
}

#[test]
fn leftmost_avoids_the_trap() {
    for spec in ALL {
        for temperature in [0.0, 1.0] {
            assert_eq!(empties(&short_texts(0.0), spec.name, EndRule::Leftmost, temperature), 0, "{}", spec.name);
        }
        // Once all other cells are ends, the argmax of a first cell that is taken back is an end as well.
        let sampler = sampler(spec.name, json!({}));
        if sampler.reads(&Masked { schedule: Linear, mask: 13 }) == Reads::Open {
            continue;
        }
        assert_eq!(empties(&short_texts(0.02), spec.name, EndRule::Leftmost, 0.0), 0, "{}", spec.name);
        let found = empties(&short_texts(0.02), spec.name, EndRule::Leftmost, 1.0);
        assert!(found < 20, "{}: {found} of 200 where four are expected", spec.name);
    }
}

#[test]
fn no_text_ends_before_a_given_cell() {
    let table = full_table(0..4, 5, vec![END]);
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        let parts = Parts { stop: &EndOfText { end: vec![END] }, ..parts(&table, &*sampler) };
        for (canvas_length, end_rule) in [(5, EndRule::Leftmost), (5, EndRule::Free), (2, EndRule::Leftmost)] {
            let settings = GenerateConfig { canvas_length, end_rule, ..config(5) };
            let pinned = sequences(0..60).into_iter().map(|one| Sequence { pins: vec![(3, 2), (1, 1)], ..one });
            let texts = generate(&parts, &settings, &pinned.collect::<Vec<_>>(), None).unwrap();
            assert!(texts.iter().all(|text| text.tokens.len() >= 4 && text.tokens[3] == 2 && text.tokens[1] == 1));
            assert!(texts.iter().any(|text| text.finish == FinishReason::Stop && text.tokens.len() == 4));
        }
    }
}

#[test]
fn the_first_cell_has_bans_of_its_own() {
    let table = full_table(1..4, 5, Vec::new());
    for spec in ALL {
        let sampler = sampler(spec.name, json!({}));
        let parts = parts(&table, &*sampler);
        for (canvas_length, pins) in [(5, vec![]), (2, vec![]), (5, vec![(3, 2)])] {
            let settings = GenerateConfig { canvas_length, ..config(5) };
            let banning = |first_banned: Vec<Token>| {
                let sequences = sequences(0..40).into_iter();
                let sequences = sequences
                    .map(|one| Sequence { pins: pins.clone(), first_banned: first_banned.clone(), ..one })
                    .collect::<Vec<_>>();
                generate(&parts, &settings, &sequences, None).unwrap()
            };
            let begins = |texts: &[lldm_diffusion::Generation]| {
                texts.iter().filter(|text| [1, 3].contains(&text.tokens[0])).count()
            };
            let banned = banning(vec![1, 3]);
            assert_eq!(begins(&banned), 0, "{}", spec.name);
            assert!(begins(&banning(Vec::new())) > 10, "{}", spec.name);
            // The bans are the first cell's alone.
            assert!(banned.iter().any(|text| text.tokens[1..].contains(&3)), "{}", spec.name);
        }
    }
}

#[test]
fn what_lies_behind_the_end_is_cut_off() {
    let table = full_table(0..4, 5, vec![END]);
    let sampler = sampler("left_to_right", json!({}));
    let parts = Parts { stop: &EndOfText { end: vec![END] }, ..parts(&table, &*sampler) };
    let mut stopped = 0;
    for sequence in sequences(0..60) {
        let (text, frames) = watch(&parts, &config(5), sequence);
        let last = frames.last().unwrap();
        assert!(last.done && last.cells.iter().all(|cell| cell.state == Cell::Committed));
        assert!(last.cells[text.tokens.len()..].iter().all(|cell| cell.token == END));
        assert_eq!(text.usage.tokens, text.tokens.len());
        if text.finish == FinishReason::Stop {
            stopped += 1;
            assert_eq!(text.usage.nfe, text.tokens.len() + 1, "nothing is spent behind the end");
            assert_eq!(frames.iter().filter(|frame| frame.done).count(), 1);
        }
    }
    assert!(stopped > 10);
}

#[test]
fn a_stop_rule_cannot_end_a_text_where_nothing_is_written() {
    let table = full_table(1..4, 4, vec![]);
    let sampler = sampler("left_to_right", json!({}));
    let text = |length| {
        let parts = Parts { stop: &Always(length), ..parts(&table, &*sampler) };
        generate(&parts, &config(4), &sequences(0..1), None).map(|mut texts| texts.remove(0))
    };
    let text_of_one = text(1).unwrap();
    assert_eq!((text_of_one.tokens.len(), text_of_one.finish), (1, FinishReason::Stop));
    assert!(text(0).unwrap().tokens.is_empty());
    for length in [2, 4, 5] {
        let message = format!("contract broken: a stop rule made a text of {length} cells, but not all are written");
        assert_eq!(text(length).unwrap_err().to_string(), message);
    }
}

impl StopRule for Always {
    fn after_step(&self, _: StopView<'_>) -> Stop {
        Stop::Text(self.0)
    }
}
