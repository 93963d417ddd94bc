//! From a name to a denoiser: where models lie, what their files hold, how their text becomes tokens.

pub(crate) mod checkpoint;
pub(crate) mod converted;
mod mapped;
pub(crate) mod model_files;
mod source;
mod stored_weights;
mod token_bytes;
mod tokenizer;
mod toy;
pub(crate) mod weights_file;

pub use model_files::{CONFIG, GENERATION_CONFIG, TOKENIZER, WEIGHTS};
pub use source::{LoadedModel, load, load_on};
pub use stored_weights::StorageUse;
pub use token_bytes::TokenBytes;
pub use tokenizer::Tokenizer;
