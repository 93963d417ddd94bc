//! The masked bound with its expectation taken exactly, over all 2^L subsets: for toys and tests.

use lldm_diffusion::{Denoiser, Token};

use super::block::masked_nats;
use super::estimate::{Estimate, Kind};
use crate::error::Result;

/// The bound of -log p(text | prefix) for a text of at most 16 tokens, without any draw.
pub fn exhaustive_bound(denoiser: &dyn Denoiser, prefix: &[Token], text: &[Token]) -> Result<Estimate> {
    let length = text.len();
    if length > 16 {
        let expected = "at most 16 tokens can be enumerated";
        return Err(lldm_diffusion::Error::setting("text", format!("{length} tokens long"), expected).into());
    }
    let mut context = denoiser.prefill(prefix)?;
    // sum over k of 1/k times the mean over subsets of size k.
    let mut by_size = vec![(0.0, 0usize); length + 1];
    for subset in 1u32..1 << length {
        let places: Vec<_> = (0..length).filter(|place| subset >> place & 1 == 1).collect();
        let (sum, count) = &mut by_size[places.len()];
        *sum += masked_nats(denoiser, &mut context, text, &places)?;
        *count += 1;
    }
    let sizes = by_size.iter().enumerate().skip(1);
    let nats = sizes.map(|(size, (sum, count))| sum / (*count as f64 * size as f64)).sum();
    let kind = if length > 1 { Kind::Bound } else { Kind::Exact };
    Ok(Estimate { nats, standard_error: 0.0, tokens: length, nfe: (1 << length) - 1, kind })
}
