//! The loop and its contracts on the toy denoisers: cost, guidance, constraints, where texts end, mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod constraint;
mod ends;
mod guidance;
mod mistakes;
mod particles;
mod seeds;
mod usage;

use std::ops::Range;

use lldm_diffusion::noise::Masked;
use lldm_diffusion::sampler::registry::build;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::stop::Never;
use lldm_diffusion::toy::Table;
use lldm_diffusion::{
    Compat, Denoiser, EndRule, Frame, GenerateConfig, Generation, LogitTransform, Parts, Sampler, Sequence, Token,
    generate,
};
use serde_json::Value;

/// Words are the tokens 1 to 3; 0 ends a text where the table says so, and 4 is the mask.
const END: Token = 0;
const MASK: Token = 4;
const V: usize = MASK as usize + 1;

fn sampler(name: &str, settings: Value) -> Box<dyn Sampler> {
    build(name, settings.as_object().unwrap()).unwrap()
}

fn parts<'a>(denoiser: &'a dyn Denoiser, sampler: &'a dyn Sampler) -> Parts<'a> {
    Parts {
        denoiser,
        noise: &Masked { schedule: Linear, mask: MASK },
        sampler,
        stop: &Never,
        guidance: None,
        constraint: None,
    }
}

/// One canvas of one block, sampled at temperature 1, end tokens anywhere.
fn config(max_tokens: usize) -> GenerateConfig {
    GenerateConfig {
        max_tokens,
        canvas_length: max_tokens,
        block_length: max_tokens,
        end_rule: EndRule::Free,
        transform: LogitTransform::default(),
        compat: Compat::Exact,
    }
}

fn sequences(seeds: Range<u64>) -> Vec<Sequence> {
    seeds
        .map(|seed| Sequence { prefix: Vec::new(), pins: Vec::new(), first_banned: Vec::new(), seed, index: 0 })
        .collect()
}

fn write(parts: &Parts<'_>, config: &GenerateConfig, seeds: Range<u64>) -> Vec<Generation> {
    generate(parts, config, &sequences(seeds), None).unwrap()
}

/// The text of one sequence and its frames.
fn watch(parts: &Parts<'_>, config: &GenerateConfig, sequence: Sequence) -> (Generation, Vec<Frame>) {
    let mut frames = Vec::new();
    let mut observer = |frame: &Frame| frames.push(frame.clone());
    let text = generate(parts, config, &[sequence], Some(&mut observer)).unwrap().remove(0);
    (text, frames)
}

/// All texts of `length` tokens from `tokens`, with weights that tie neighbours together.
fn full_table(tokens: Range<Token>, length: usize, end: Vec<Token>) -> Table {
    let mut texts = vec![Vec::new()];
    for _ in 0..length {
        let longer = |text: &Vec<Token>| tokens.clone().map(|token| [text.as_slice(), &[token]].concat()).collect();
        texts = texts.iter().flat_map(|text| -> Vec<Vec<Token>> { longer(text) }).collect();
    }
    let weight = |text: &[Token]| {
        let ties = text.windows(2).filter(|pair| pair[0] <= pair[1]).count();
        (1.2 * ties as f64 + 0.3 * f64::from(text[0])).exp()
    };
    let texts = texts.into_iter().map(|text| (text.clone(), weight(&text))).collect();
    Table::new(V, MASK, end, texts).unwrap()
}
