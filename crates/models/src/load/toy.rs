//! The toy model: an exact table of a dozen sentences over whole words. It needs no network and no files, so that the
//! loop, the command line and the pictures can be tested to the byte on every machine.

use std::collections::BTreeMap;

use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, Tokenizer as Inner};

use lldm_diffusion::Token;
use lldm_diffusion::noise::Masked;
use lldm_diffusion::schedule::Linear;
use lldm_diffusion::toy::Table;

use super::{LoadedModel, Tokenizer};
use crate::error::{Error, Result};
use crate::registry::Defaults;

const SENTENCES: &[&str] = &[
    "the spaceship crossed the silent ocean of stars",
    "the spaceship landed on the far side of the moon",
    "a small boat crossed the cold ocean at night",
    "a small boat waited on the far side of the lake",
    "the old captain counted the stars at night",
    "the old captain counted every boat on the lake",
    "noise becomes a word and words become a sentence",
    "noise fell silent on the far side of the night",
    "every word waited for the word at its side",
    "every sentence began as noise on the canvas",
    "the canvas was cold and silent at night",
    "a sentence crossed the canvas",
];

/// Loads it.
pub(super) fn load() -> Result<LoadedModel> {
    // Identifiers: the end token, the words in alphabetical order, the mask.
    let mut words: BTreeMap<&str, Token> = SENTENCES.iter().flat_map(|s| s.split(' ')).map(|w| (w, 0)).collect();
    for (id, token) in (1..).zip(words.values_mut()) {
        *token = id;
    }
    let (end, mask) = (0, words.len() as Token + 1);
    let length = SENTENCES.iter().map(|sentence| sentence.split(' ').count()).max().unwrap_or(0) + 1;
    let texts = SENTENCES.iter().map(|sentence| {
        let mut text: Vec<Token> = sentence.split(' ').map(|word| words[word]).collect();
        text.resize(length, end);
        (text, 1.0)
    });
    let vocabulary = words.len() + 2;
    let table = Table::new(vocabulary, mask, vec![end], texts.collect())?;
    let special = [("<end>", end), ("<mask>", mask)];
    let all = words.iter().map(|(word, id)| (word.to_string(), *id));
    let all = all.chain(special.iter().map(|(name, id)| (name.to_string(), *id)));
    let model = WordLevel::builder()
        .vocab(all.collect())
        .unk_token("<end>".to_string())
        .build()
        .map_err(|error| Error::format("toy tokenizer", error))?;
    let mut inner = Inner::new(model);
    inner.with_pre_tokenizer(Some(WhitespaceSplit));
    inner
        .add_special_tokens(special.map(|(name, _)| AddedToken::from(name, true)))
        .map_err(|error| Error::format("toy tokenizer", error))?;
    let defaults = Defaults {
        sampler: Some("low_confidence".to_string()),
        max_tokens: Some(length),
        canvas_length: Some(length),
        block_length: Some(length),
        ..Defaults::default()
    };
    Ok(LoadedModel {
        name: "toy".to_string(),
        family: "toy".to_string(),
        config: serde_json::json!({ "model_type": "toy", "sentences": SENTENCES.len(), "vocab_size": vocabulary }),
        parameters: SENTENCES.len() * length,
        storage: Vec::new(),
        denoiser: Box::new(table),
        noise: Box::new(Masked { schedule: Linear, mask }),
        trunk: None,
        tokenizer: Tokenizer::new(inner),
        defaults,
    })
}
