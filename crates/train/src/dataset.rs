//! A recipe's data, ready for training: the tokenizer and the tokenised train and held-out documents.

use std::path::Path;
use std::sync::Arc;

use crate::data::{BpeTokenizer, Corpus, Document, Places, Split, TokenSet, load, load_own};
use crate::error::Result;
use crate::recipe::Recipe;

/// What a recipe is trained and measured on.
pub struct Dataset {
    /// Text to tokens.
    pub tokenizer: BpeTokenizer,
    /// The training documents.
    pub train: Arc<TokenSet>,
    /// The held-out documents.
    pub held_out: Arc<TokenSet>,
    /// The held-out documents by domain.
    pub domains: Vec<(String, Arc<TokenSet>)>,
}

/// The documents of one part of a recipe's data.
pub fn documents(recipe: &Recipe, places: &Places, split: Split) -> Result<Vec<Document>> {
    let mut all = Vec::new();
    for id in &recipe.data.corpora {
        all.extend(load(Corpus::by_id(id)?, places, split, &recipe.data.load)?);
    }
    for file in &recipe.data.files {
        all.extend(load_own(file, Some(split))?);
    }
    Ok(all)
}

impl Dataset {
    /// Loads the documents; the tokenizer is `kept` if that file exists (a resumed run's), else the recipe's file, else
    /// trained on the training documents.
    pub fn load(recipe: &Recipe, places: &Places, kept: Option<&Path>) -> Result<Self> {
        let train = documents(recipe, places, Split::Train)?;
        let held_out = documents(recipe, places, Split::HeldOut)?;
        let file = kept.filter(|path| path.exists()).or(recipe.tokenizer.file.as_deref());
        let tokenizer = match file {
            Some(path) => BpeTokenizer::open(path)?,
            None => {
                let texts = train.iter().flat_map(|document| [&document.prompt, &document.text]);
                BpeTokenizer::train(texts, recipe.tokenizer.vocabulary)?
            }
        };
        let mut names: Vec<_> = held_out.iter().map(|document| document.domain.clone()).collect();
        names.sort();
        names.dedup();
        let domains = names.into_iter().map(|name| {
            let part: Vec<_> = held_out.iter().filter(|document| document.domain == name).cloned().collect();
            Ok((name, Arc::new(TokenSet::encode(&part, &tokenizer)?)))
        });
        Ok(Self {
            domains: domains.collect::<Result<_>>()?,
            train: Arc::new(TokenSet::encode(&train, &tokenizer)?),
            held_out: Arc::new(TokenSet::encode(&held_out, &tokenizer)?),
            tokenizer,
        })
    }
}
