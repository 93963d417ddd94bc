//! Our own small transformer: its configuration, its network.

mod config;
mod network;
mod time_embedding;

pub use config::{Attention, MODEL_TYPE, TrunkConfig};
pub use network::Trunk;
