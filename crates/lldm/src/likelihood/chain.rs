//! The likelihood of a text in one order of writing: L forward passes, each for one cell, with all later ones masked.
//!
//! From left to right that is the chain rule through a masked model. It is exact for the model that writes in this order,
//! and is no bound of the any-order model (RADD, Ou et al. 2024, section 3.3: the bound is the mean over all orders). So it is
//! labelled [`Kind::OneOrder`] and never ranked with bounds. For an autoregressive model it is the exact likelihood.

use lldm_diffusion::{Denoiser, Token};

use super::blocks::{Block, masked_log_probabilities, sum};
use super::estimate::{Estimate, Kind};
use crate::error::Result;

/// -log of the text's probability when it is written from left to right, in nats.
pub fn left_to_right(denoiser: &dyn Denoiser, prefix: &[Token], text: &[Token]) -> Result<Estimate> {
    in_order(denoiser, prefix, text, &(0..text.len()).collect::<Vec<_>>())
}

/// -log of the text's probability when its cells are written in `order`, in nats. A model that finishes canvases or blocks
/// before the next one begins takes only the order from left to right.
pub fn in_order(denoiser: &dyn Denoiser, prefix: &[Token], text: &[Token], order: &[usize]) -> Result<Estimate> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..text.len()) {
        let expected = format!("it must name each of the {} cells once", text.len());
        return Err(lldm_diffusion::Error::setting("order", format!("{order:?}"), expected).into());
    }
    let forward = order.is_sorted();
    sum(denoiser, prefix, text, 0, Kind::OneOrder, |place, context| {
        let length = place.cells.len();
        let order: Vec<usize> = if length == text.len() && !forward { order.to_vec() } else { (0..length).collect() };
        if length < text.len() && !forward {
            let expected = "this model finishes a block before the next one begins: only left to right is possible";
            return Err(lldm_diffusion::Error::setting("order", "not from left to right", expected).into());
        }
        let mut nats = 0.0;
        for (at, cell) in order.iter().enumerate() {
            let hidden = &order[at..];
            nats -= masked_log_probabilities(denoiser, context, place.cells, hidden, &[*cell])?[0];
        }
        Ok(Block { nats, variance: Some(0.0), nfe: length, exact: length == 1 })
    })
}
