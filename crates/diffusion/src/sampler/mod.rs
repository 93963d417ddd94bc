//! Reverse processes, one file each.

mod ancestral;
mod first_hitting;
mod left_to_right;
mod low_confidence;
pub mod registry;
mod reverse;
mod threshold;

pub use ancestral::{Ancestral, AncestralConfig};
pub use first_hitting::{FirstHitting, FirstHittingConfig};
pub use left_to_right::{LeftToRight, LeftToRightConfig};
pub use low_confidence::{LowConfidence, LowConfidenceConfig, transfer_quota};
pub use reverse::{Action, BlockSampler, BlockStart, CellProposal, Reads, Sampler, StepTimes, StepView};
pub use threshold::{Threshold, ThresholdConfig};
