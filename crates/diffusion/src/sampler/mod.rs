//! Reverse processes, one file each. What a method ranks by is in `rank.rs`, how many cells it commits in `commit.rs`, steps
//! that draw each cell by itself in `transition.rs`.

mod ancestral;
mod commit;
mod dream;
mod entropy_bound;
mod factor;
mod first_hitting;
mod gidd;
mod hierarchical;
mod left_to_right;
mod low_confidence;
mod psi;
mod quota;
mod random;
mod rank;
pub mod registry;
mod remdm;
mod reverse;
mod sdar;
mod tau_leaping;
mod threshold;
mod token_editing;
mod transition;

pub use ancestral::{Ancestral, AncestralConfig, Tail};
pub use commit::{commit, transfer_quota};
pub use dream::{Dream, DreamAlgorithm, DreamConfig, transfer_chance};
pub use entropy_bound::{EntropyBound, EntropyBoundConfig};
pub use factor::{Factor, FactorConfig};
pub use first_hitting::{FirstHitting, FirstHittingConfig};
pub use gidd::{Gidd, GiddConfig};
pub use hierarchical::{Hierarchical, HierarchicalConfig, HierarchyRule};
pub use left_to_right::{LeftToRight, LeftToRightConfig};
pub use low_confidence::{LowConfidence, LowConfidenceConfig};
pub use psi::{Psi, PsiConfig, PsiStrategy};
pub use random::{Random, RandomConfig};
pub use rank::Rank;
pub use remdm::{Remasking, Remdm, RemdmConfig, Strategy};
pub use reverse::{Action, BlockSampler, BlockStart, CellProposal, Reads, Sampler, StepTimes, StepView};
pub use sdar::{Sdar, SdarConfig, SdarStrategy};
pub use tau_leaping::{Method, TauLeaping, TauLeapingConfig, euler_step};
pub use threshold::{Threshold, ThresholdConfig};
pub use token_editing::{TokenEditing, TokenEditingConfig};
