//! Denoisers: tensors, layers, one file per family, loaders and tokenizers.
//!
//! A family implements [`lldm_diffusion::Denoiser`]; [`load::load`] turns a name into one, with its tokenizer and the
//! settings that its checkpoint asks for.

pub mod convert;
pub mod device;
pub mod error;
pub mod fused_logits;
pub mod load;
pub mod nn;
pub mod process;
pub mod random_weights;
pub mod registry;
pub mod trunk;
pub mod trunk_denoiser;

pub use device::Device;
pub use error::{Error, Result};
pub use fused_logits::FusedLogits;
pub use load::{LoadedModel, StorageUse, TokenBytes, Tokenizer, load, load_on};
pub use process::{Answers, NoiseConfig};
pub use random_weights::RandomWeights;
pub use registry::Defaults;
pub use trunk::{Attention, Trunk, TrunkConfig};
pub use trunk_denoiser::TrunkDenoiser;
