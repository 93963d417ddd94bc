//! Which tokens of a model's vocabulary a text may hold.

use lldm_diffusion::Token;
use lldm_models::LoadedModel;

/// Tokens that no text contains: special ones other than the end.
pub(crate) fn never_written(model: &LoadedModel) -> Vec<Token> {
    let info = model.denoiser.info();
    (0..info.vocabulary as Token)
        .filter(|token| model.tokenizer.is_special(*token) && !info.end.contains(token))
        .collect()
}

/// Pieces that would go on with the word that a prompt ends with.
pub(crate) fn within_word(model: &LoadedModel) -> Vec<Token> {
    let goes_on = |token: &Token| {
        !model.tokenizer.is_special(*token) && model.tokenizer.piece(*token).starts_with(char::is_alphanumeric)
    };
    (0..model.denoiser.info().vocabulary as Token).filter(goes_on).collect()
}
