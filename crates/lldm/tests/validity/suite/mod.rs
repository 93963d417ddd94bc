//! Whether texts under constraints are valid: random cases, independent judges, and every way of writing a text.

mod case;
mod dice;
mod generator;
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
pub(crate) use generator::{SCHEMAS, case};
pub(crate) use model::{SAMPLERS, write_with_model};
pub(crate) use tally::{BUDGET, Tally, Turn};
pub(crate) use vectors::round_vectors;
pub(crate) use writer::{pairs, write_toys};
