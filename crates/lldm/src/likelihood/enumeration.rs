//! The masked bound with its expectation over the number of masks taken in full: for each k of 1..=M the mean of
//! M/k sum of -log p over subsets of exactly k tokens, and the mean of these over k (LLaDA, Nie et al. 2025, appendix B.5;
//! any-order view: Ou et al. 2024, section 3.3). What varies is the choice of subsets alone, and where all subsets of a size
//! fit into the budget nothing does.

use serde::{Deserialize, Serialize};

use lldm_diffusion::rng::{Purpose, Rng};
use lldm_diffusion::{Denoiser, Token};

use super::blocks::{Block, choose, masked_nats, mean, sum};
use super::estimate::{Estimate, Kind};
use crate::error::Result;

/// The longest text of which all subsets are looked at.
const MOST_TOKENS: usize = 16;

/// How the enumeration is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnumerationConfig {
    /// Tokens of a block; 0 is the whole text.
    pub block_length: usize,
    /// Subsets of each size; all of them where there are no more. With one alone the standard error is unknown.
    pub subsets: usize,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for EnumerationConfig {
    fn default() -> Self {
        Self { block_length: 0, subsets: 2, seed: 0 }
    }
}

/// The bound of -log p(text | prefix), in nats: M times `subsets` forward passes for each block of M tokens.
pub fn enumerated_bound(
    denoiser: &dyn Denoiser,
    prefix: &[Token],
    text: &[Token],
    config: &EnumerationConfig,
) -> Result<Estimate> {
    let budget = config.subsets.max(1);
    sum(denoiser, prefix, text, config.block_length, Kind::Bound, |place, context| {
        let cells = place.cells;
        let length = cells.len();
        let mut block = Block { nats: 0.0, variance: Some(0.0), nfe: 0, exact: length == 1 };
        for k in 1..=length {
            let all = subsets(length, k, budget);
            let drawn = all.is_none();
            let subsets = all.unwrap_or_else(|| {
                // A stream for each size.
                let rng = Rng::new(config.seed, k as u64);
                let draw = |draw: usize| {
                    let at = rng.at(place.number, draw);
                    choose(length, k, |i, n| at.choice(i, Purpose::Corrupt, n))
                };
                (0..budget).map(draw).collect()
            });
            let value = |subset: &Vec<usize>| Ok(masked_nats(denoiser, context, cells, subset)? / k as f64);
            let values = subsets.iter().map(value).collect::<Result<Vec<f64>>>()?;
            let (nats, variance) = mean(&values);
            block.nats += nats;
            block.nfe += values.len();
            let variance = if drawn { variance } else { Some(0.0) };
            block.variance = block.variance.zip(variance).map(|(sum, more)| sum + more);
        }
        Ok(block)
    })
}

/// The bound of -log p(text | prefix) for a text of at most 16 tokens, over all subsets of each of the family's canvases
/// (the whole text, where it has none): nothing is drawn.
pub fn exhaustive_bound(denoiser: &dyn Denoiser, prefix: &[Token], text: &[Token]) -> Result<Estimate> {
    let length = text.len();
    if length > MOST_TOKENS {
        let expected = format!("at most {MOST_TOKENS} tokens can be enumerated");
        return Err(lldm_diffusion::Error::setting("text", format!("{length} tokens long"), expected).into());
    }
    let config = EnumerationConfig { subsets: 1 << MOST_TOKENS, ..EnumerationConfig::default() };
    enumerated_bound(denoiser, prefix, text, &config)
}

/// All subsets of `k` of `n` places, if there are at most `most`.
fn subsets(n: usize, k: usize, most: usize) -> Option<Vec<Vec<usize>>> {
    let mut found: Vec<Vec<usize>> = vec![Vec::new()];
    for size in 0..k {
        let mut longer = Vec::new();
        for subset in found {
            let from = subset.last().map_or(0, |last| last + 1);
            // Room is left for the places that are still missing.
            longer.extend((from..=n - (k - size)).map(|place| [subset.as_slice(), &[place]].concat()));
            // Every beginning leads to one subset at least.
            if longer.len() > most {
                return None;
            }
        }
        found = longer;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_all_or_none() {
        assert_eq!(subsets(4, 2, 6).expect("six").len(), 6);
        assert_eq!(subsets(4, 2, 5), None);
        assert_eq!(subsets(3, 3, 1), Some(vec![vec![0, 1, 2]]));
        assert_eq!(subsets(200, 100, 1000), None);
    }
}
