//! Whether texts under constraints are valid: random cases, independent judges, and every way of writing a text.

mod case;
mod dice;
mod keywords;
mod lengths;
mod model;
mod regexes;
pub(crate) mod schemas;
mod tally;
mod templates;
mod toy;
mod vectors;
mod words;
mod writer;

pub(crate) use case::{Case, Kind};
pub(crate) use model::{SAMPLERS, write_with_model};
pub(crate) use tally::{Tally, Turn};
pub(crate) use vectors::round_vectors;
pub(crate) use writer::{pairs, write_toys};

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
