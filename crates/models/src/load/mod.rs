//! From a name to a denoiser: where models lie, what their files hold, how their text becomes tokens.

mod checkpoint;
mod embedded;
mod source;
mod tokenizer;
mod toy;

pub use checkpoint::{CONFIG, GENERATION_CONFIG, TOKENIZER, WEIGHTS};
pub use source::{LoadedModel, load};
pub use tokenizer::Tokenizer;
