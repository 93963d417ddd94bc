//! The exact laws of the samplers on toy denoisers: chi-squared tests against enumeration.
//!
//! All of the tests together fail for a right implementation with probability 1e-6 at most (`chi_squared.rs`). The seeds
//! are fixed: a test that passes passes always.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chi_squared;
mod limits;
mod vectors;

use std::collections::BTreeMap;
use std::f64::consts::FRAC_PI_2;

use lldm_diffusion::noise::{Masked, Noise};
use lldm_diffusion::sampler::registry::{ALL, build};
use lldm_diffusion::schedule::{Cosine, Linear};
use lldm_diffusion::stop::Never;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{Compat, EndRule, GenerateConfig, LogitTransform, Parts, Sequence, Token, generate};
use serde_json::{Value, json};

use crate::chi_squared::{differs, same_law};

/// Texts drawn for a test.
const DRAWS: u64 = 40_000;
/// L cells of the words 0, 1, 2; 3 is the mask.
const L: usize = 4;
const MASK: Token = 3;

type Law = BTreeMap<Vec<Token>, f64>;
type Texts = Vec<(Vec<Token>, f64)>;

/// Every text, neighbours strongly tied.
fn dense() -> Texts {
    let text = |n: usize| (0..L).map(|at| (n / 3usize.pow(at as u32) % 3) as Token).collect::<Vec<_>>();
    let weight = |text: &[Token]| {
        let ties = text.windows(2).filter(|pair| pair[1] == (pair[0] + 1) % 3).count();
        (1.1 * ties as f64).exp() * f64::from(1 + text[0] + text[3])
    };
    normalised((0..3usize.pow(L as u32)).map(text).map(|text| (text.clone(), weight(&text))).collect())
}

/// Few texts: two cells written in one step may fit none of them, and then every word is as good.
fn sparse() -> Texts {
    let texts = [[0, 1, 2, 0], [1, 1, 0, 2], [2, 0, 0, 1], [0, 2, 1, 1], [2, 2, 2, 2]];
    normalised(texts.iter().zip([5.0, 3.0, 2.0, 1.0, 1.0]).map(|(text, weight)| (text.to_vec(), weight)).collect())
}

fn normalised(texts: Texts) -> Texts {
    let total: f64 = texts.iter().map(|(_, weight)| weight).sum();
    texts.into_iter().map(|(text, weight)| (text, weight / total)).collect()
}

fn joint(texts: &Texts) -> Law {
    texts.iter().cloned().collect()
}

#[test]
fn first_hitting_and_left_to_right_draw_from_the_exact_joint_law() {
    for texts in [dense(), sparse()] {
        for name in ["first_hitting", "left_to_right", "random"] {
            same_law(name, &draw(&texts, name, json!({}), &config(L, L), &[]), &joint(&texts));
            // Two canvases of two cells: the second is conditioned on the first.
            same_law(name, &draw(&texts, name, json!({}), &config(2, 2), &[]), &joint(&texts));
            same_law(name, &draw(&texts, name, json!({}), &config(L, 3), &[]), &joint(&texts));
        }
    }
}

#[test]
fn given_cells_condition_the_law() {
    let pins = [(1, 1), (3, 2)];
    let fits = |text: &[Token]| pins.iter().all(|(at, token)| text[*at] == *token);
    let law = joint(&normalised(dense().into_iter().filter(|(text, _)| fits(text)).collect()));
    for name in ["first_hitting", "left_to_right"] {
        same_law(name, &draw(&dense(), name, json!({}), &config(L, L), &pins), &law);
    }
}

#[test]
fn ancestral_draws_from_the_law_of_its_chain() {
    for texts in [dense(), sparse()] {
        for steps in [1, 2, 3, 8] {
            let settings = json!({ "steps": steps });
            let law = chain(&texts, steps, |t| 1.0 - t);
            same_law("linear", &draw(&texts, "ancestral", settings.clone(), &config(L, L), &[]), &law);
            let law = chain(&texts, steps, |t| 1.0 - (FRAC_PI_2 * (1.0 - t)).cos());
            let cosine = Masked { schedule: Cosine, mask: MASK };
            same_law("cosine", &draw_under(&cosine, &texts, "ancestral", settings, &config(L, L), &[]), &law);
        }
    }
    // The tests can tell: a chain of three steps is not the joint law, nor that of two steps, nor cosine linear.
    let three = draw(&sparse(), "ancestral", json!({ "steps": 3 }), &config(L, L), &[]);
    for other in [joint(&sparse()), chain(&sparse(), 2, |t| 1.0 - t)] {
        assert!(!differs(&three, &other).is_empty());
    }
    assert!(!differs(&three, &chain(&sparse(), 3, |t| 1.0 - (FRAC_PI_2 * (1.0 - t)).cos())).is_empty());
}

#[test]
fn blocks_of_one_cell_are_left_to_right() {
    // At the temperatures of its schedule `entropy_bound` has another law, and a corrected text another than a drawn one.
    for spec in ALL.iter().filter(|spec| !["entropy_bound", "gidd", "token_editing"].contains(&spec.name)) {
        same_law(spec.name, &draw(&dense(), spec.name, json!({}), &config(L, 1), &[]), &joint(&dense()));
    }
}

/// The temperature acts on every conditional, not on the joint law.
#[test]
fn a_tempered_chain_has_tempered_conditionals() {
    let texts = dense();
    for temperature in [0.5, 2.0] {
        let mut law = Law::from([(vec![MASK; L], 1.0)]);
        for at in 0..L {
            let mut next = Law::new();
            for (canvas, p) in &law {
                let weights = conditional(&texts, canvas, at).map(|p| p.powf(1.0 / temperature));
                for token in 0..MASK {
                    let mut canvas = canvas.clone();
                    canvas[at] = token;
                    *next.entry(canvas).or_default() += p * weights[token as usize] / weights.iter().sum::<f64>();
                }
            }
            law = next;
        }
        let transform = LogitTransform { temperature, ..LogitTransform::default() };
        let settings = GenerateConfig { transform, ..config(L, L) };
        same_law("tempered", &draw(&texts, "left_to_right", json!({}), &settings, &[]), &law);
    }
}

/// One cell a step, each drawn given all that is written: whatever the order, the text is one of the table's.
#[test]
fn one_cell_a_step_gives_whole_texts_only() {
    let texts = joint(&sparse());
    for (name, settings) in [("low_confidence", json!({ "steps": L })), ("threshold", json!({ "threshold": 1.0 }))] {
        let counts = draw(&sparse(), name, settings, &config(L, L), &[]);
        assert_eq!(counts.keys().collect::<Vec<_>>(), texts.keys().collect::<Vec<_>>(), "{name}");
    }
    // In two steps the sparse table is torn apart.
    let counts = draw(&sparse(), "low_confidence", json!({ "steps": 2 }), &config(L, L), &[]);
    assert!(counts.keys().any(|text| !texts.contains_key(text)));

    // Where the first cell says all, the first word written anywhere says all.
    let told = vec![(vec![0, 1, 2, 0], 3.0), (vec![1, 2, 0, 1], 2.0), (vec![2, 0, 1, 2], 1.0)];
    let counts = draw(&told, "low_confidence", json!({ "steps": L }), &config(L, L), &[]);
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&told[0].0, &told[1].0, &told[2].0]);
}

fn config(canvas_length: usize, block_length: usize) -> GenerateConfig {
    GenerateConfig {
        max_tokens: L,
        canvas_length,
        block_length,
        end_rule: EndRule::Free,
        transform: LogitTransform::default(),
        compat: Compat::Exact,
    }
}

/// How often each text comes out under masked noise with the linear schedule.
fn draw(
    texts: &Texts,
    name: &str,
    settings: Value,
    config: &GenerateConfig,
    pins: &[(usize, Token)],
) -> BTreeMap<Vec<Token>, u64> {
    draw_under(&Masked { schedule: Linear, mask: MASK }, texts, name, settings, config, pins)
}

/// How often each text comes out under some noise.
fn draw_under(
    noise: &dyn Noise,
    texts: &Texts,
    name: &str,
    settings: Value,
    config: &GenerateConfig,
    pins: &[(usize, Token)],
) -> BTreeMap<Vec<Token>, u64> {
    let table = Table::new(MASK as usize + 1, MASK, Vec::new(), texts.clone()).unwrap();
    let sampler = build(name, settings.as_object().unwrap()).unwrap();
    let parts =
        Parts { denoiser: &table, noise, sampler: sampler.as_ref(), stop: &Never, guidance: None, constraint: None };
    let sequence =
        |index| Sequence { prefix: Vec::new(), pins: pins.to_vec(), first_banned: Vec::new(), seed: 20, index };
    let sequences: Vec<_> = (0..DRAWS).map(sequence).collect();
    let mut counts = BTreeMap::new();
    for batch in sequences.chunks(1000) {
        for text in generate(&parts, config, batch, None).unwrap() {
            *counts.entry(text.tokens).or_default() += 1;
        }
    }
    counts
}

/// p(token at `at` | written cells), from the table by counting; every word alike where no text fits.
fn conditional(texts: &Texts, canvas: &[Token], at: usize) -> [f64; MASK as usize] {
    let mut weights = [0.0; MASK as usize];
    for (text, weight) in texts {
        if canvas.iter().zip(text).all(|(seen, token)| *seen == MASK || seen == token) {
            weights[text[at] as usize] += weight;
        }
    }
    let total: f64 = weights.iter().sum();
    weights.map(|weight| if total > 0.0 { weight / total } else { 1.0 / f64::from(MASK) })
}

/// The law of the chain of T steps: in each, every masked cell is written independently of the others with the chance
/// (alpha(s) - alpha(t)) / (1 - alpha(t)), by its conditional given the canvas before the step; the last writes all.
fn chain(texts: &Texts, steps: usize, alpha: impl Fn(f64) -> f64) -> Law {
    let mut law = Law::from([(vec![MASK; L], 1.0)]);
    for step in 0..steps {
        let (t, s) = (1.0 - step as f64 / steps as f64, 1.0 - (step + 1) as f64 / steps as f64);
        let reveal = if step + 1 == steps { 1.0 } else { (alpha(s) - alpha(t)) / (1.0 - alpha(t)) };
        let mut next = Law::new();
        for (canvas, p) in &law {
            let mut partial = Law::from([(canvas.clone(), *p)]);
            for at in (0..L).filter(|at| canvas[*at] == MASK) {
                let conditional = conditional(texts, canvas, at);
                let mut further = Law::new();
                for (canvas, p) in partial {
                    for (token, chance) in (0..MASK).zip(conditional) {
                        let mut written = canvas.clone();
                        written[at] = token;
                        *further.entry(written).or_default() += p * reveal * chance;
                    }
                    *further.entry(canvas).or_default() += p * (1.0 - reveal);
                }
                partial = further;
            }
            partial.into_iter().for_each(|(canvas, p)| *next.entry(canvas).or_default() += p);
        }
        law = next;
    }
    law
}
