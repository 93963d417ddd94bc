//! Cases by kind, seed and number.

use super::case::{Case, Kind};
use super::{keywords, regexes, schemas, templates};

/// How many schemas there are.
pub(crate) const SCHEMAS: usize = 300;

/// The case of that kind and number; schemas are the same for every seed.
pub(crate) fn case(kind: Kind, seed: u64, index: usize) -> Case {
    match kind {
        Kind::Keywords => keywords::case(seed, index),
        Kind::Regexes => regexes::case(seed, index),
        Kind::Templates => templates::case(seed, index),
        Kind::Schemas => schemas::case(index),
    }
}
