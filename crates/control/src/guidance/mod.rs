//! Soft control: a pull on the prediction, particles steered by a reward, and the best of several texts; one file each.

mod classifier_free;
mod scorer;
mod steering;

pub use classifier_free::ClassifierFree;
pub use scorer::{Scorer, reward};
pub use steering::{PotentialKind, Spell, Steering, SteeringConfig};
