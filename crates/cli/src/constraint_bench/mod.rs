//! What `lldm bench constraints` measures: by kind of constraint, its compilation, and what a step under it costs.

mod kinds;
mod measure;
mod place;
mod report;

pub(crate) use kinds::{Kind, kinds, names};
pub(crate) use measure::{Rounds, measure};
pub(crate) use place::Place;
pub(crate) use report::{PlaceReport, Report};
