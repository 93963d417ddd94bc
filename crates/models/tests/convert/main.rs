//! Models in every form of their weights: quantised, packed, both; and every way in which a conversion can fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod devices;
mod forms;
mod layers;
mod mistakes;
mod support;
