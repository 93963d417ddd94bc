//! Training objectives, one file each.

mod autoregressive;
mod block;
pub mod closed_form;
mod denoising;
mod elbo;
mod gidd;
mod loss;
mod masked;
mod noised;
pub mod registry;
mod row_loss;
mod score_entropy;
mod subset;
mod uniform;
mod uniform_block;

pub use autoregressive::Autoregressive;
pub use block::{Block, BlockConfig};
pub use closed_form::{NoisedCell, T_MAX, T_MIN};
pub use denoising::{Denoising, DenoisingConfig};
pub use elbo::Elbo;
pub use gidd::{Gidd, GiddConfig, Weighting};
pub use loss::{Loss, Measures, Objective, Rows};
pub use masked::Masked;
pub use noised::stratified_time;
pub use score_entropy::{ScoreEntropy, ScoreEntropyConfig, ScoreNoise, score_entropy, score_shift};
pub use subset::{exact_subset, stratified_count};
pub use uniform::{Uniform, UniformConfig};
pub use uniform_block::{UniformBlock, UniformBlockConfig};
