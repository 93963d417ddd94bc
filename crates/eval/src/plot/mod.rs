//! Pictures of an evaluation, as SVG.

mod tradeoff;
mod training;

pub use tradeoff::{Mark, Series, TradeoffPicture, tradeoff};
pub use training::{Curve, curves};
