//! Forward processes: how clean text becomes noise, one file each.

mod block;
mod forward;
mod hybrid;
mod masked;
mod mixture;
pub mod registry;
mod uniform;

pub use block::Block;
pub use forward::{Alphabet, Marginal, Noise};
pub use hybrid::{Hybrid, HybridConfig, P_UNIFORM};
pub use masked::{Masked, MaskedConfig};
pub use mixture::{Mixture, Outcome};
pub use uniform::{Uniform, UniformConfig};
